// SPDX-License-Identifier: MIT
// libcurl, one easy handle used again and again, which keeps its connection.

#include "../client.hpp"

#include <curl/curl.h>

std::size_t keep(char* bytes, std::size_t size, std::size_t count, void* body) {
    static_cast<std::string*>(body)->append(bytes, size * count);
    return size * count;
}

int main(int argc, char** argv) {
    bench::arguments arguments(argc, argv);
    return bench::run_client(arguments, [](const std::string& where) {
        static std::string body;
        CURL* curl = curl_easy_init();
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, where.c_str());
        curl_easy_setopt(curl, CURLOPT_URL, "http://localhost/");
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
        return [curl] {
            long status = 0;
            body.clear();
            return curl_easy_perform(curl) == CURLE_OK &&
                   curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK &&
                   status == 200 && body == "Hello Anonymous";
        };
    });
}
