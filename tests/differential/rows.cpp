// The rows of parser_test.cpp, one per line: where from, name, and the bytes in hex.
#define DOCTEST_CONFIG_DISABLE
#define DOCTEST_CONFIG_IMPLEMENT
#include "../parser_test.cpp"

#include <cstdio>

namespace parser_test {
namespace {

void print(const char* table, const char* name, const std::string& bytes) {
    std::printf("%s\t%s\t", table, name);
    for (char c : bytes) std::printf("%02x", static_cast<unsigned char>(c));
    std::puts("");
}

template <class Row, std::size_t N>
void print_all(const char* table, const Row (&rows)[N], const char* before = "") {
    for (const Row& r : rows) {
        if constexpr (std::is_same_v<Row, body_row>)
            print(table, r.name, before + std::string(r.wire));
        else print(table, r.name, std::string(r.input));
    }
}

} // namespace
} // namespace parser_test

int main() {
    using namespace parser_test;
    print_all("request line", request_line_rows);
    print_all("target", target_rows);
    print_all("field", field_rows);
    print_all("Host", host_rows);
    print_all("framing", framing_rows);
    print_all("meaning", request_meanings);
    print_all("chunk", chunk_rows, POST "Transfer-Encoding: chunked" END "");
}
