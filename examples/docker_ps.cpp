// docker_ps: the containers that Docker or Podman runs, by its API.
//
//     $ build/examples/docker_ps /var/run/docker.sock
//     $ curl --unix-socket /var/run/docker.sock http://localhost/containers/json

#include "uds_http.hpp"

static int fail(const std::string& why) {
    return std::fprintf(stderr, "docker_ps: %s\n", why.c_str()), 1;
}

// The text of the first "key" in flat JSON: enough for this, not for a program that matters.
static std::string text_of(const std::string& json, const std::string& key) {
    const auto at = json.find("\"" + key + "\":");
    if (at == std::string::npos) return "";
    const auto begin = json.find('"', at + key.size() + 3);
    return json.substr(begin + 1, json.find('"', begin + 1) - begin - 1);
}

int main(int argc, char** argv) {
    if (argc > 2 || (argc == 2 && argv[1][0] == '-'))
        return std::fputs("usage: docker_ps [SOCKET]\n", stderr), 1;

    uds_http::client docker(argc == 2 ? argv[1] : "/var/run/docker.sock");
    auto res = docker.get("/containers/json?all=" + uds_http::percent_encode("true"));
    if (!res) return fail(res.error().message());
    const std::string list = res->take_body();
    if (res->status() != 200) return fail(std::to_string(res->status()) + " " + list);

    std::printf("%-12s  %-10s  %s\n", "ID", "STATE", "IMAGE");
    for (auto at = list.find("\"Id\":"); at != std::string::npos;) {
        const auto next = list.find("\"Id\":", at + 1);
        const std::string one = list.substr(at, next - at);
        std::printf("%-12.12s  %-10s  %s\n", text_of(one, "Id").c_str(),
                    text_of(one, "State").c_str(), text_of(one, "Image").c_str());
        at = next;
    }
    return std::fflush(stdout) ? fail(std::strerror(errno)) : 0;
}
