# Sourced by examples.sh: compiles each ```cpp block of README.md; one without a main() is the inside
# of a function, with `app` and `api` at hand.
number=0
while IFS= read -r -d $'\x01' block; do
    number=$((number + 1))
    file=$folder/readme$number.cpp
    {
        grep -q 'include "uds_http.hpp"' <<<"$block" || echo '#include "uds_http.hpp"'
        if grep -q 'int main' <<<"$block"; then
            printf '%s\n' "$block"
        else
            printf 'static uds_http::server app;\nstatic uds_http::client api("@none");\n'
            printf 'int main() {\n(void)app, (void)api;\n%s\n}\n' "$block"
        fi
    } >"$file"
    same "README block $number compiles" yes \
        "$("${CXX:-g++}" -std=c++17 -Wall -Wextra -I. -Iexamples -pthread -fsyntax-only "$file" && echo yes)"
done < <(awk '/^```cpp/ { on = 1; next } /^```/ && on { on = 0; printf "\001" } on' README.md)
