// SPDX-License-Identifier: MIT
// The words of doctest that the tests use, without streams: for musl, where the locales of a
// libstdc++ that was built for glibc don't work. Prints what failed, then doctest's line of counts.
#pragma once

#include <atomic>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fnmatch.h>
#include <string>
#include <vector>

namespace plain {

struct abandoned {}; // what a REQUIRE that fails throws

struct test_case {
    const char* name;
    void (*run)();
};

inline std::vector<test_case>& test_cases() {
    static std::vector<test_case> all;
    return all;
}
inline bool add(const char* name, void (*run)()) {
    return test_cases().push_back({name, run}), true;
}

inline std::atomic<int> failures{0}; // of this run; threads check, too

inline void claim(bool holds, bool is_required, const char* what, const char* file, int line) {
    if (holds) return;
    ++failures;
    std::printf("%s:%d: ERROR: %s\n", file, line, what);
    if (is_required) throw abandoned();
}

template <class F> bool passes_on(F act) { // without a throw
    try {
        act();
    } catch (...) {
        return false;
    }
    return true;
}

// A test case with subcases runs once for each; none of them has subcases of its own.
inline int wanted = 0, met = 0;
inline bool enters() { return met++ == wanted; }

inline bool passes(const test_case& test) {
    wanted = 0, failures = 0;
    do {
        met = 0;
        try {
            test.run();
        } catch (const abandoned&) {
        } catch (const std::exception& e) {
            claim(false, false, e.what(), test.name, 0);
        }
    } while (++wanted < met);
    if (failures) std::printf("TEST CASE:  %s\n", test.name);
    std::fflush(stdout);
    return failures == 0;
}

inline bool matches(const std::string& patterns, const char* name) { // with commas between them
    for (std::size_t at = 0, end; at < patterns.size(); at = end + 1) {
        end = patterns.find(',', at);
        if (end == std::string::npos) end = patterns.size();
        if (::fnmatch(patterns.substr(at, end - at).c_str(), name, 0) == 0) return true;
    }
    return false;
}

inline int run_all(int count, char** words) {
    const char* option = "--test-case-exclude=";
    std::string left_out;
    for (int i = 1; i < count; ++i) {
        if (std::strncmp(words[i], option, std::strlen(option)) != 0) return 2;
        left_out = words[i] + std::strlen(option);
    }
    int passed = 0, failed = 0, skipped = 0;
    for (const test_case& test : test_cases())
        ++(matches(left_out, test.name) ? skipped : passes(test) ? passed : failed);
    std::printf("[doctest] test cases: %d | %d passed | %d failed | %d skipped\n", passed + failed,
                passed, failed, skipped);
    return failed ? 1 : 0;
}

} // namespace plain

#define PLAIN_JOIN(a, b) a##b
#define PLAIN_CASE(name, function)                                                                 \
    static void function();                                                                        \
    [[maybe_unused]] static const bool PLAIN_JOIN(function, _is_known) =                           \
        plain::add(name, function);                                                                \
    static void function()
#define PLAIN_NAMED(name, line) PLAIN_CASE(name, PLAIN_JOIN(plain_case_, line))
#define TEST_CASE(name) PLAIN_NAMED(name, __LINE__)
#define SUBCASE(name) if (plain::enters())

#define PLAIN_CLAIM(is_required, what, ...)                                                        \
    plain::claim(static_cast<bool>(__VA_ARGS__), is_required, what, __FILE__, __LINE__)
#define CHECK(...) PLAIN_CLAIM(false, #__VA_ARGS__, __VA_ARGS__)
#define CHECK_FALSE(...) PLAIN_CLAIM(false, "not " #__VA_ARGS__, !(__VA_ARGS__))
#define CHECK_MESSAGE(holds, ...) PLAIN_CLAIM(false, #holds, holds)
#define CHECK_NOTHROW(...)                                                                         \
    PLAIN_CLAIM(false, "throws: " #__VA_ARGS__, plain::passes_on([&] { (void)(__VA_ARGS__); }))
#define REQUIRE(...) PLAIN_CLAIM(true, #__VA_ARGS__, __VA_ARGS__)
#define REQUIRE_FALSE(...) PLAIN_CLAIM(true, "not " #__VA_ARGS__, !(__VA_ARGS__))
#define REQUIRE_MESSAGE(holds, ...) PLAIN_CLAIM(true, #holds, holds)
#define FAIL(what) PLAIN_CLAIM(true, what, false)
#define CAPTURE(value) static_cast<void>(value)
#define MESSAGE(...) static_cast<void>(0)

#ifdef DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
int main(int count, char** words) { return plain::run_all(count, words); }
#endif
