# Sourced by examples.sh: README.md's blocks, as they stand there. Each ```cpp block is compiled and run;
# one without a main() is the inside of a function, with `app` and `api` at hand. ```console and
# ```python blocks are pasted, and have to answer what stands below them. tests/cmake.sh has the others.
readme=${folder:?is of lib.sh}/readme # on its own it would write to /
path=$readme/myapp.sock # what README calls /tmp/myapp.sock
mkdir "$readme"
ours() { sed "s#/tmp/myapp\.sock#$path#g; s#%2Ftmp%2Fmyapp\.sock#${path//\//%2F}#g; s#jobs-under-test#jobs-$$#g"; }
block() { # LANGUAGE WORDS: the first block that has the words
    awk -v fence="^\`\`\`$1\$" -v words="$2" '$0 ~ fence { on = 1; text = ""; next }
        /^```/ && on { on = 0; if (index(text, words)) { printf "%s", text; exit } }
        on { text = text $0 "\n" }' README.md
}
answers() { sed '/^\$ /d'; } # of a console block: what is no command

# The complete server, compiled, started and asked by the commands below it. They are pasted one by one, as
# the path has to be there before curl is.
cp uds_http.hpp "$readme"
block cpp 'int main' | ours >"$readme/hello.cpp"
block console './hello' | ours >"$readme/console"
mapfile -t commands < <(sed -n 's/^\$ //p' "$readme/console")
same 'README: compile, start, ask' 3 ${#commands[@]}
same 'README: the server starts on a line of its own' './hello &' "${commands[1]}"
(cd "$readme" && eval "${commands[0]}")
same 'README: hello.cpp compiles as pasted' 0 $?
start readme "$readme/hello"
until_true 10 accepts "$path" || cat "$folder/readme.log"
same 'README: its curl line' "$(answers <"$readme/console")" "$(eval "${commands[2]} -sS")"
same 'README: server, curl and answer by line 30' yes "$(head -n 30 README.md | grep -q '^Hello world$' && echo yes)"

# The other ```cpp blocks, all in one program: its argument says which.
count=$(awk -v to="$readme/blocks.cpp" '
    BEGIN { print "#include \"uds_http.hpp\"\n#include <thread>\nstatic uds_http::server app;\nstatic uds_http::client api(\"@none\");" >to }
    /^```cpp$/ { text = "#line " NR + 1 " \"README.md\"\n"; on = 1; next }
    /^```/ && on { on = 0; if (text !~ /int main/) printf "static void block%d() {\n%s}\n", ++count, text >to }
    on { text = text $0 "\n" }
    END {
        print "int main(int, char** argv) {\n(void)app, (void)api;\nconst int which = std::atoi(argv[1]);" >to
        for (i = 1; i <= count; ++i) printf "if (which == %d) block%d();\n", i, i >to
        print "}" >to
        print count
    }' README.md)
ours <"$readme/blocks.cpp" >"$folder/blocks.cpp"
"${CXX:-g++}" -std=c++17 -Wall -Wextra -I. -pthread "$folder/blocks.cpp" -o "$folder/blocks"
same 'README: the blocks compile' 0 $?
for ((i = 1; i <= count; ++i)); do
    timeout 20 "$folder/blocks" "$i" >"$folder/block$i.log" 2>&1 </dev/null
    same "README: block $i runs" 0 $?
done
same 'README: the client is answered' 1 "$(grep -lx 'Hello world' "$folder"/block*.log | wc -l)"
same 'README: so is who asks the fake service' 1 "$(grep -lx '{"done":true}' "$folder"/block*.log | wc -l)"

# Python, and the error that fetch shows.
for words in aiohttp http.client; do
    same "README: Python, $words" 'Hello world' "$(block python "$words" | ours | timeout 20 /usr/bin/python3 - 2>&1)"
done
block console nobody.sock >"$readme/console"
same 'README: the error of fetch' "$(answers <"$readme/console")" \
    "$("$fetch" "$(sed -n 's/^\$ build\/examples\/fetch //p' "$readme/console")" 2>&1)"
# The recipe for systemd, in a folder instead of /; make paths verifies the units themselves.
mkdir -p "$readme/usr/local/bin" "$readme/etc/systemd/system"
here() { sed "s#/\(usr/local\|etc/systemd\)#$readme/\1#g"; }
(
    sudo() { "$@"; }
    systemctl() { echo "$*" >>"$readme/systemctl"; }
    eval "$(block console daemon-reload | sed -n 's/^\$ //p' | grep -v '^curl' | here)"
) >/dev/null
same 'README: systemd: reload, then enable' 'daemon-reload enable --now hello.socket' "$(paste -sd' ' "$readme/systemctl")"
same 'README: systemd: each unit that it names is there' 'hello.service hello.socket' "$(ls "$readme/etc/systemd/system" | paste -sd' ')"
same 'README: systemd: the service starts what was installed' yes \
    "$([ -x "$(sed -n 's/^ExecStart=//p' "$readme/etc/systemd/system/hello.service" | here)" ] && echo yes)"
same 'README: systemd: curl asks the socket of the unit' 1 \
    "$(block console daemon-reload | grep -c "^\$ curl --unix-socket $(sed -n 's/^ListenStream=//p' examples/hello.socket) ")"
stop "$pid" # it is the README's, without stop_on(): the path stays, for the next one to take

# Links, and that no example is left out.
while IFS= read -r file; do
    same "README: $file is there" yes "$([ -e "$file" ] && echo yes)"
done < <(grep -oE '\]\([^)# ]+\)' README.md | sed 's/^](//; s/)$//' | grep -v '^https\?:' | sort -u)
for file in examples/*.cpp; do
    same "README: $file is in its table" yes "$(grep -qF "($file)" README.md && echo yes)"
done
