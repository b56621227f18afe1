// Room [6]: addresses, and the life of a socket's path.
#include "uds_http.hpp"

#include <dirent.h>
#include <doctest/doctest.h>
#include <filesystem>
#include <grp.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/wait.h>

using namespace uds_http;
using namespace uds_http::detail;
using namespace std::string_literals;

namespace {

/// A folder of the test's own, which everybody may enter; gone with all that is in it afterwards.
struct folder {
    std::string path = "/tmp/uds_http_test." + std::string(6, 'X'); // mkdtemp(3) fills them in
    folder() {
        REQUIRE(::mkdtemp(&path[0]) != nullptr);
        ::chmod(path.c_str(), 0755);
    }
    ~folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    std::string operator/(const std::string& name) const { return path + "/" + name; }
};

int open_fds() {
    int count = 0;
    DIR* dir = ::opendir("/proc/self/fd");
    while (dir && ::readdir(dir)) ++count;
    if (dir) ::closedir(dir);
    return count;
}

/// Fails the test that loses descriptors. Stands first, so that it looks last.
struct no_leak {
    int before = open_fds();
    ~no_leak() { CHECK(open_fds() == before); }
};

/// Runs `act` in a forked child; what it returns (0: fine, else where it failed) is the answer.
template <class F> int in_child(F act) {
    pid_t child = ::fork();
    if (child == 0) ::_exit(act());
    int status = -1;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

mode_t file_type(const std::string& path) { // 0: nothing there
    struct stat is {};
    return ::lstat(path.c_str(), &is) == 0 ? is.st_mode & S_IFMT : 0;
}
mode_t mode_of(const std::string& path) {
    struct stat is {};
    return ::lstat(path.c_str(), &is) == 0 ? is.st_mode & 07777 : 0xffff;
}
ino_t inode_of(const std::string& path) {
    struct stat is {};
    return ::lstat(path.c_str(), &is) == 0 ? is.st_ino : 0;
}
bool is_socket(const std::string& path) { return file_type(path) == S_IFSOCK; }

void write_file(const std::string& path, string_view text) {
    unique_fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    REQUIRE(::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

result<listener> open_at(const std::string& path, const listen_options& options = {}) {
    return open_listener(address(path), options);
}

listen_options with_mode(mode_t mode) {
    listen_options o;
    o.mode = mode;
    return o;
}
listen_options taking_over() {
    listen_options o;
    o.take_over = true;
    return o;
}

bool answers(const std::string& path) { return static_cast<bool>(try_connect(address(path))); }

/// A socket file that nobody serves any more, as after kill -9.
void leave_stale(const std::string& path, int type = SOCK_STREAM) {
    unique_fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    endpoint at = make_endpoint(path);
    REQUIRE(::bind(fd.get(), at.get(), at.size) == 0);
}

bool contains(const error& e, string_view text) {
    return e.message().find(text) != std::string::npos;
}

milliseconds since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - start);
}

/// Another user, where we may become one; else the same.
bool become_nobody() {
    return ::geteuid() != 0 || (!::setgroups(0, nullptr) && !::setgid(65534) && !::setuid(65534));
}

struct address_row {
    string_view text;
    string_view display; // "" : bad_address
    string_view target = {};
};

const address_row address_rows[] = {
    {"/tmp/x.sock", "/tmp/x.sock"},
    {"x.sock", "x.sock"},
    {"./@x", "./@x"},
    {"@x", "@x"},
    {"@", ""},
    {"@@", "@@"},
    {"", ""},
    {string_view("/tmp/a\0b", 8), ""},
    {string_view("\0ab", 3), ""},
    {string_view("@a\0b\0", 5), "@a\\x00b\\x00"},
    {"/tmp/a b\n\x7f", "/tmp/a b\\x0a\\x7f"},
    {"/tmp/a%2Fb?c#d", "/tmp/a%2Fb?c#d"},
    {"http+unix://%2Ftmp%2Fx.sock", "/tmp/x.sock", "/"},
    {"http+unix://%2Ftmp%2Fx.sock/", "/tmp/x.sock", "/"},
    {"http+unix://%2Ftmp%2Fx.sock/path?q", "/tmp/x.sock", "/path?q"},
    {"http+unix://%2ftmp%2fx.sock/a%2Fb/../c", "/tmp/x.sock", "/a%2Fb/../c"},
    {"HTTP+Unix://%2FTmp%2FX.sock/P", "/Tmp/X.sock", "/P"},
    {"http+unix://%2Ftmp%2Fx.sock?q=1", "/tmp/x.sock", "/?q=1"},
    {"http+unix://%2Ftmp%2Fx.sock#f", "/tmp/x.sock", "/"},
    {"http+unix://%2Ftmp%2Fx.sock/a?b#f/c?d", "/tmp/x.sock", "/a?b"},
    {"http+unix://%2Ftmp%2Fa+b%20c.sock/", "/tmp/a+b c.sock", "/"},
    {"http+unix://%2Ftmp%2F%252F.sock/", "/tmp/%2F.sock", "/"},
    {"http+unix://x.sock/", "x.sock", "/"},
    {"http+unix://%2Ftmp%2Fa:80/", "/tmp/a:80", "/"},
    {"http+unix://user@host/", "user@host", "/"},
    {"http+unix://%00name/p", "@name", "/p"},
    {"http+unix://%40name/p", "@name", "/p"},
    {"http+unix://@name", "@name", "/"},
    {"http+unix://%00a%00b", "@a\\x00b", "/"},
    {"http+unix://%00/", ""},
    {"http+unix://", ""},
    {"http+unix:///tmp/x.sock", ""},
    {"http+unix://?q", ""},
    {"http+unix://%2Ftmp%2/x", ""},
    {"http+unix://%2Ftmp%zz/x", ""},
    {"http+unix://%2Ftmp%", ""},
    {"http+unix://%2Ftmp%2Fa%00b/", ""},
    {"unix:///tmp/x.sock", "/tmp/x.sock"},
    {"UNIX:///tmp/X.sock", "/tmp/X.sock"},
    {"unix:///tmp/a%2Fb", "/tmp/a%2Fb"},
    {"unix:/tmp/x.sock", "/tmp/x.sock"},
    {"unix:x.sock", "x.sock"},
    {"unix:@name", "@name"},
    {"unix://@name", "@name"},
    {"unix://", ""},
    {"unix:", ""},
    {"http://unix:/tmp/x.sock:/path", "/tmp/x.sock", "/path"},
    {"http://unix:/tmp/x.sock:/path:b?c", "/tmp/x.sock", "/path:b?c"},
    {"http://unix:/tmp/x.sock:", "/tmp/x.sock", "/"},
    {"http://unix:/tmp/x.sock", "/tmp/x.sock", "/"},
    {"http://unix:/tmp/x.sock:?q", "/tmp/x.sock", "/?q"},
    {"HTTP://Unix:/tmp/x.sock:/p#f", "/tmp/x.sock", "/p"},
    {"http://unix:@name:/p", "@name", "/p"},
    {"http://unix:/tmp/a%20b%.sock:/p", "/tmp/a%20b%.sock", "/p"},
    {"http://unix:/tmp/x.sock:80", ""},
    {"http://unix::/p", ""},
    {"http://unix:", ""},
    {"http://localhost/", ""},
    {"http://", ""},
    {"https://example.org/x", ""},
    {"https+unix://%2Ftmp%2Fx.sock/", ""},
    {"tcp://127.0.0.1:80", ""},
    {"./tcp://x", "./tcp://x"},
    {"://x", "://x"},
};

} // namespace

TEST_CASE("address: what its forms mean") {
    for (const address_row& r : address_rows) {
        CAPTURE(r.text);
        address at(r.text);
        if (r.display.empty()) {
            CHECK(at.error() == errc::bad_address);
            CHECK(!try_connect(at));
            CHECK(open_listener(at, {}).error() == errc::bad_address);
            continue;
        }
        CHECK(!at.error());
        CHECK(display(at) == r.display);
        CHECK(access::of(at)->target == r.target);
        CHECK(access::of(at)->is_abstract() == (r.display[0] == '@'));
    }
}

TEST_CASE("address: a bad one says what would be right") {
    CHECK(contains(address("tcp://1.2.3.4:80").error(), "tcp://1.2.3.4:80"));
    CHECK(contains(address("tcp://1.2.3.4:80").error(), "http+unix://"));
    CHECK(contains(address("http+unix://%2Fa%2/").error(), "hex digits"));
}

TEST_CASE("address: abstract names are exactly their bytes, 107 of them at most") {
    address nuls = address::abstract_name("a\0b\0"s);
    CHECK(!nuls.error());
    CHECK(access::of(nuls)->name == "\0a\0b\0"s);
    CHECK(access::of(address::abstract_name("@x"))->name == "\0@x"s);
    CHECK(address::abstract_name("").error() == errc::bad_address);
    CHECK(!address::abstract_name(std::string(107, 'x')).error());
    CHECK(address::abstract_name(std::string(108, 'x')).error() == std::errc::filename_too_long);
    CHECK(address("@" + std::string(108, 'x')).error() == std::errc::filename_too_long);
}

TEST_CASE("address: a path that no client could connect to is none for a server") {
    folder at;
    std::string parent = at / "";
    while (parent.size() < 4'000) parent += "./"; // the folder itself can be opened
    const std::string longest = parent + std::string(4'095 - parent.size(), 's');
    listen_options how;
    CHECK(detail::open_listener(longest, how));
    CHECK(detail::open_listener(longest + "s", how).error() == std::errc::filename_too_long);
    CHECK(try_connect(longest + "s").error() == std::errc::filename_too_long);
}

TEST_CASE("address: its URL leads back to it") {
    for (string_view text : {"/tmp/x y%.sock", "@na\nme", "relative", "/tmp/\xc3\xbc+"}) {
        CAPTURE(text);
        address there(text), back(there.url("/a?b"));
        CHECK(!back.error());
        CHECK(access::of(back)->name == access::of(there)->name);
        CHECK(access::of(back)->is_abstract() == access::of(there)->is_abstract());
        CHECK(access::of(back)->target == "/a?b");
    }
    CHECK(address("/tmp/x").url() == "http+unix://%2Ftmp%2Fx/");
    CHECK(address("@x").url("?q") == "http+unix://%40x/?q");
}

TEST_CASE("socket file: make_endpoint: exact lengths, no NUL added") {
    endpoint full = make_endpoint(std::string(108, 'x'));
    CHECK(full.size == sizeof(sockaddr_un));
    CHECK(make_endpoint("\0ab"s).size == offsetof(sockaddr_un, sun_path) + 3);
}

TEST_CASE("socket file: a listener: non-blocking, close-on-exec, private, and its lock file too") {
    no_leak l;
    folder f;
    auto door = open_at(f / "a.sock");
    REQUIRE(door);
    CHECK((::fcntl(door->fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK((::fcntl(door->fd.get(), F_GETFL) & O_NONBLOCK) != 0);
    CHECK(mode_of(f / "a.sock") == 0600);
    CHECK(mode_of(f / "a.sock.lock") == 0600);
    CHECK(file_type(f / "a.sock.lock") == S_IFREG);
    CHECK(door->path == f / "a.sock");
    CHECK(answers(f / "a.sock"));
    remove_path(*door);
    CHECK(file_type(f / "a.sock") == 0);
    CHECK(file_type(f / "a.sock.lock") == S_IFREG); // never unlinked: others may be waiting for it
    remove_path(*door);                             // once more is no harm
}

TEST_CASE("socket file: the mode is what was asked for, whatever the umask") {
    struct {
        mode_t umask, mode;
    } rows[] = {{0, 0600}, {0, 0666}, {022, 0660}, {077, 0666}, {077, 0777}, {0777, 0600}, {0, 0}};
    folder f;
    for (auto r : rows) {
        CAPTURE(r.umask);
        CAPTURE(r.mode);
        CHECK(in_child([&] {
                  ::umask(r.umask);
                  auto door = open_at(f / "a.sock", with_mode(r.mode));
                  if (!door) return 1;
                  if (mode_of(f / "a.sock") != r.mode) return 2;
                  if (mode_of(f / "a.sock.lock") != 0600) return 3;
                  remove_path(*door);
                  return ::umask(0) == r.umask ? 0 : 4;
              }) == 0);
    }
}

TEST_CASE("socket file: fact: fchmod before bind gives the mode less the umask, after it nothing") {
    folder f;
    CHECK(in_child([&] {
              ::umask(022);
              unique_fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
              endpoint at = make_endpoint(f / "a.sock");
              ::fchmod(fd.get(), 0660);
              if (::bind(fd.get(), at.get(), at.size) != 0 || mode_of(f / "a.sock") != 0640)
                  return 1;
              ::fchmod(fd.get(), 0777);
              return mode_of(f / "a.sock") == 0640 ? 0 : 2;
          }) == 0);
}

TEST_CASE("socket file: fact: a bound socket refuses connections until listen") {
    folder f;
    unique_fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    endpoint at = make_endpoint(f / "a.sock");
    REQUIRE(::bind(fd.get(), at.get(), at.size) == 0);
    CHECK(try_connect(f / "a.sock").error() == std::errc::connection_refused);
    REQUIRE(::listen(fd.get(), 1) == 0);
    CHECK(answers(f / "a.sock"));
}

TEST_CASE("socket file: owner and group; without the right to set them nothing stays") {
    no_leak l;
    folder f;
    if (::geteuid() == 0) {
        listen_options o;
        o.owner = 65534, o.group = 4711;
        auto door = open_at(f / "a.sock", o);
        REQUIRE(door);
        struct stat is {};
        REQUIRE(::lstat((f / "a.sock").c_str(), &is) == 0);
        CHECK(is.st_uid == 65534);
        CHECK(is.st_gid == 4711);
        CHECK(mode_of(f / "a.sock") == 0600);
        ::chmod(f.path.c_str(), 0777);
    }
    CHECK(in_child([&] {
              if (!become_nobody()) return 1;
              listen_options o;
              o.owner = 0;
              auto door = open_at(f / "b.sock", o);
              if (door || !(door.error() == std::errc::operation_not_permitted)) return 2;
              if (!contains(door.error(), (f / "b.sock") + ": chown: ")) return 3;
              return file_type(f / "b.sock") == 0 ? 0 : 4;
          }) == 0);
}

TEST_CASE("socket file: a dead socket is replaced, of whatever type it was") {
    no_leak l;
    folder f;
    for (int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
        leave_stale(f / "a.sock", type);
        CAPTURE(type);
        auto door = open_at(f / "a.sock");
        REQUIRE(door);
        CHECK(answers(f / "a.sock"));
        CHECK(inode_of(f / "a.sock") == door->file.st_ino);
        remove_path(*door);
        leave_stale(f / "a.sock", type);
        errno = ENOENT; // of some call before
        door = open_at(f / "a.sock");
        REQUIRE(door);
        remove_path(*door);
    }
}

TEST_CASE("socket file: a live server is refused and unharmed, with a full backlog too") {
    no_leak l;
    folder f;
    listen_options small;
    small.backlog = 0;
    auto door = open_at(f / "a.sock", small);
    REQUIRE(door);
    ino_t old = inode_of(f / "a.sock");
    for (int i = 0; i < 3; ++i) { // the first probe fills the backlog
        auto second = open_at(f / "a.sock");
        CHECK(second.error() == std::errc::address_in_use);
        CHECK(contains(second.error(), f / "a.sock"));
    }
    CHECK(inode_of(f / "a.sock") == old);
    unique_fd probed(::accept4(door->fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    CHECK(probed);
    CHECK(answers(f / "a.sock"));
}

TEST_CASE("socket file: a server that is alive is seen without its lock, and no lock is left") {
    no_leak l;
    folder f;
    unique_fd other(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    endpoint at = make_endpoint(f / "a.sock");
    REQUIRE(::bind(other.get(), at.get(), at.size) == 0);
    REQUIRE(::listen(other.get(), 9) == 0);
    CHECK(contains(open_at(f / "a.sock").error(), "a server is alive there"));
    CHECK(file_type(f / "a.sock.lock") == 0);
}

TEST_CASE("socket file: a live socket of another type is refused and unharmed") {
    no_leak l;
    folder f;
    unique_fd other(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    endpoint at = make_endpoint(f / "a.sock");
    REQUIRE(::bind(other.get(), at.get(), at.size) == 0);
    CHECK(open_at(f / "a.sock").error() == std::errc::address_in_use);
    CHECK(is_socket(f / "a.sock"));
    auto conn = connect_to(f / "a.sock", deadline(), nullptr);
    CHECK(conn.error() == std::errc::wrong_protocol_type);
}

TEST_CASE("socket file: what is no socket is never touched") {
    no_leak l;
    folder f;
    write_file(f / "file", "precious");
    ::mkdir((f / "dir").c_str(), 0700);
    ::mkfifo((f / "fifo").c_str(), 0600);
    leave_stale(f / "stale");
    REQUIRE(::symlink("stale", (f / "link").c_str()) == 0);
    REQUIRE(::symlink("nowhere", (f / "dangling").c_str()) == 0);
    for (const char* name : {"file", "dir", "fifo", "link", "dangling"})
        for (bool take_over : {false, true}) {
            CAPTURE(name);
            CAPTURE(take_over);
            mode_t type = file_type(f / name);
            ino_t inode = inode_of(f / name);
            auto door = open_at(f / name, take_over ? taking_over() : listen_options());
            CHECK(door.error() == std::errc::not_a_socket);
            CHECK(contains(door.error(), f / name));
            CHECK(file_type(f / name) == type);
            CHECK(inode_of(f / name) == inode);
        }
    CHECK(is_socket(f / "stale"));
    CHECK(std::filesystem::file_size(f / "file") == 8);
}

TEST_CASE("socket file: paths that name no socket") {
    no_leak l;
    folder f;
    struct {
        std::string path;
        std::errc code;
    } rows[] = {
        {f / "", std::errc::is_a_directory},
        {f / ".", std::errc::is_a_directory},
        {"..", std::errc::is_a_directory},
        {f / "missing/a.sock", std::errc::no_such_file_or_directory},
        {f / std::string(256, 'x'), std::errc::filename_too_long},
        {f / std::string(251, 'x'), std::errc::filename_too_long}, // no room for .lock
        {"/dev/null/a.sock", std::errc::not_a_directory},
        {"/" + std::string(5000, 'x') + "/a", std::errc::filename_too_long},
    };
    for (const auto& r : rows) {
        CAPTURE(r.path);
        auto door = open_at(r.path);
        CHECK(door.error() == r.code);
        CHECK(contains(door.error(), r.path.substr(0, 20)));
    }
}

TEST_CASE("socket file: paths of every length that the file system takes") {
    no_leak l;
    folder f;
    std::string deep = f / std::string(200, 'd');
    REQUIRE(::mkdir(deep.c_str(), 0700) == 0);
    std::size_t used = f.path.size() + 1;
    const std::string paths[] = {
        f / std::string(107 - used, 'a'),
        f / std::string(108 - used, 'b'),
        f / std::string(109 - used, 'c'),
        f / std::string(104 - used, 'e'),
        deep + "/a.sock",
        deep + "/" + std::string(91, 'g'),
        f / std::string(150, 'h'),
        f / std::string(250, 'i'),
        deep + "/" + std::string(250, 'k'),
    };
    for (const std::string& path : paths) {
        CAPTURE(path);
        auto door = open_at(path);
        CHECK(!door.error());
        if (!door) continue;
        CHECK(mode_of(path) == 0600);
        CHECK(answers(path));
        CHECK(connect_to(path, deadline::after(milliseconds(1000)), nullptr));
        CHECK(open_at(path).error() == std::errc::address_in_use);
        door->fd = unique_fd(); // died: the path stays
        CHECK(try_connect(path).error() == std::errc::connection_refused);
        auto again = open_at(path);
        REQUIRE(again);
        CHECK(answers(path));
        auto next = open_at(path, taking_over());
        CHECK(!next.error());
        if (!next) continue;
        remove_path(*again);
        CHECK(answers(path));
        remove_path(*next);
        CHECK(file_type(path) == 0);
        CHECK(try_connect(path).error() == std::errc::no_such_file_or_directory);
    }
    for (const auto& entry : std::filesystem::recursive_directory_iterator(f.path)) {
        CAPTURE(entry.path());
        CHECK((entry.is_directory() || entry.path().extension() == ".lock"));
    }
}

TEST_CASE("socket file: a relative path is unlinked where it was bound") {
    folder f;
    ::mkdir((f / "elsewhere").c_str(), 0700);
    CHECK(in_child([&] {
              if (::chdir(f.path.c_str()) != 0) return 1;
              auto door = open_at("a.sock");
              if (!door || !answers("a.sock") || !answers("./a.sock")) return 2;
              if (::chdir("elsewhere") != 0) return 3;
              auto other = open_at("a.sock");
              if (!other || !is_socket("a.sock")) return 4;
              remove_path(*door);
              if (is_socket("../a.sock") || !is_socket("a.sock")) return 5;
              return 0;
          }) == 0);
}

TEST_CASE("socket file: a renamed folder takes its socket along, and it is still unlinked") {
    folder f;
    ::mkdir((f / "old").c_str(), 0700);
    auto door = open_at(f / "old/a.sock");
    REQUIRE(door);
    REQUIRE(::rename((f / "old").c_str(), (f / "new").c_str()) == 0);
    ::mkdir((f / "old").c_str(), 0700);
    leave_stale(f / "old/a.sock");
    remove_path(*door);
    CHECK(is_socket(f / "old/a.sock"));
    CHECK(!is_socket(f / "new/a.sock"));
}

TEST_CASE("socket file: a mode without its owner's right to write: alive or dead is found out") {
    folder f;
    ::chmod(f.path.c_str(), 0777);
    CHECK(in_child([&] {
              if (!become_nobody()) return 1;
              const std::string path = f / "a.sock";
              listen_options group;
              group.mode = 0060;
              { // ends as by kill -9
                  auto door = open_at(path, group), second = open_at(path, group);
                  if (!door) return 2;
                  if (second || !(second.error() == std::errc::address_in_use)) return 3;
                  if (mode_of(path) != 0060) return 4;
              }
              auto next = open_at(path, group);
              if (!next || mode_of(path) != 0060) return 5;
              remove_path(*next);
              return is_socket(path) ? 6 : 0;
          }) == 0);
}

TEST_CASE("socket file: with no descriptor left the path goes all the same") {
    folder f;
    CHECK(in_child([&] {
              auto door = open_at(f / "a.sock"), successor = open_at(f / "a.sock", taking_over());
              if (!door || !successor) return 1;
              const int next = ::dup(0);
              const rlimit none{static_cast<rlim_t>(next), static_cast<rlim_t>(next)};
              if (::close(next) != 0 || ::setrlimit(RLIMIT_NOFILE, &none) != 0) return 2;
              remove_path(*door); // not its own any more
              if (!is_socket(f / "a.sock")) return 3;
              remove_path(*successor);
              return is_socket(f / "a.sock") ? 4 : 0;
          }) == 0);
}

TEST_CASE("socket file: only our own socket is unlinked, and only by the process that bound it") {
    no_leak l;
    folder f;
    auto door = open_at(f / "a.sock");
    REQUIRE(door);
    CHECK(in_child([&] { return remove_path(*door), 0; }) == 0);
    CHECK(is_socket(f / "a.sock"));
    ::unlink((f / "a.sock").c_str());
    auto other = open_at(f / "a.sock"); // somebody else's now
    REQUIRE(other);
    remove_path(*door);
    CHECK(answers(f / "a.sock"));
    ::unlink((f / "a.sock").c_str());
    write_file(f / "a.sock", "x");
    remove_path(*other);
    CHECK(file_type(f / "a.sock") == S_IFREG);
}

TEST_CASE("socket file: where the lock can't be had the path stays, dead") {
    no_leak l;
    folder f;
    {
        auto door = open_at(f / "a.sock");
        REQUIRE(door);
        REQUIRE(::unlink((f / "a.sock.lock").c_str()) == 0);
        REQUIRE(::mkdir((f / "a.sock.lock").c_str(), 0700) == 0);
        remove_path(*door);
    }
    CHECK(is_socket(f / "a.sock"));
    REQUIRE(::rmdir((f / "a.sock.lock").c_str()) == 0);
    auto next = open_at(f / "a.sock");
    REQUIRE(next);
    remove_path(*next);
}

TEST_CASE("socket file: another server of this user's, put in our place, keeps its mode and path") {
    // Whoever may write the folder may exchange the two just after bind(2). A listener whose folder
    // is another one than that of its path finds what one would find then.
    no_leak l;
    folder f, g;
    listen_options wide;
    wide.mode = 0666;
    for (int type : {SOCK_STREAM, SOCK_DGRAM}) {
        CAPTURE(type);
        const std::string path = f / "a.sock", victim = g / "a.sock";
        unique_fd other(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
        const endpoint at = make_endpoint(victim);
        REQUIRE(::bind(other.get(), at.get(), at.size) == 0);
        if (type == SOCK_STREAM) REQUIRE(::listen(other.get(), 9) == 0);
        REQUIRE(::chmod(victim.c_str(), 0600) == 0);
        listener made{stream_socket(SOCK_NONBLOCK), path};
        made.folder = unique_fd(::open(g.path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
        CHECK(bind_path(made, path, wide) == std::errc::address_in_use);
        CHECK(mode_of(victim) == 0600);
        unlink_ours(made, path); // as open_path() then does
        CHECK(file_type(victim) == S_IFSOCK);
        ::unlink(victim.c_str()), ::unlink(path.c_str());
    }
}

TEST_CASE("socket file: a lock that is a link, a folder, a fifo, or another user's is refused") {
    no_leak l;
    folder f;
    write_file(f / "victim", "precious");
    ::chmod((f / "victim").c_str(), 0644);
    REQUIRE(::symlink("victim", (f / "symlink.lock").c_str()) == 0);
    REQUIRE(::symlink("created", (f / "dangling.lock").c_str()) == 0);
    REQUIRE(::link((f / "victim").c_str(), (f / "hardlink.lock").c_str()) == 0);
    ::mkdir((f / "dir.lock").c_str(), 0700);
    ::mkfifo((f / "fifo.lock").c_str(), 0600);
    struct {
        const char* name;
        std::errc code;
    } rows[] = {{"symlink", std::errc::too_many_symbolic_link_levels},
                {"dangling", std::errc::too_many_symbolic_link_levels},
                {"hardlink", std::errc::operation_not_permitted},
                {"dir", std::errc::is_a_directory},
                {"fifo", std::errc::operation_not_permitted}};
    for (const auto& r : rows) {
        CAPTURE(r.name);
        auto door = open_at(f / r.name);
        CHECK(door.error() == r.code);
        CHECK(contains(door.error(), (f / r.name) + ".lock"));
        CHECK(file_type(f / r.name) == 0);
    }
    CHECK(file_type(f / "created") == 0);
    CHECK(mode_of(f / "victim") == 0644);
    if (::geteuid() != 0) return;
    write_file(f / "foreign.lock", "");
    REQUIRE(::chown((f / "foreign.lock").c_str(), 65534, 65534) == 0);
    CHECK(open_at(f / "foreign").error() == std::errc::operation_not_permitted);
}

TEST_CASE("socket file: a lock file that others could open is made private") {
    folder f;
    write_file(f / "a.sock.lock", "");
    ::chmod((f / "a.sock.lock").c_str(), 0666);
    CHECK(open_at(f / "a.sock"));
    CHECK(mode_of(f / "a.sock.lock") == 0600);
}

TEST_CASE("socket file: a lock that another process holds: waited for, but not for ever") {
    no_leak l;
    folder f;
    int ready[2];
    REQUIRE(::pipe2(ready, O_CLOEXEC) == 0);
    pid_t holder = ::fork();
    if (holder == 0) {
        unique_fd fd(::open((f / "a.sock.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        if (::flock(fd.get(), LOCK_EX) != 0 || ::write(ready[1], "x", 1) != 1) ::_exit(1);
        for (;;) ::pause();
    }
    char byte;
    CHECK(::read(ready[0], &byte, 1) == 1);
    ::close(ready[0]), ::close(ready[1]);
    auto start = std::chrono::steady_clock::now();
    auto door = open_at(f / "a.sock");
    CHECK(door.error() == std::errc::address_in_use); // as whoever comes too late in a crowd gets
    CHECK(contains(door.error(), (f / "a.sock.lock") + ": held by another process"));
    CHECK(since(start) >= milliseconds(2000));
    CHECK(file_type(f / "a.sock") == 0);
    ::kill(holder, SIGKILL);
    ::waitpid(holder, nullptr, 0);
    CHECK(open_at(f / "a.sock"));
}

TEST_CASE(
    "socket file: whoever waits for the lock in vain is told of the server that came up then") {
    no_leak l;
    folder f;
    std::string path = f / "a.sock";
    unique_fd held(::open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    REQUIRE(::flock(held.get(), LOCK_EX) == 0);
    pid_t server = ::fork();
    if (server == 0) {
        wait_ready(-1, 0, deadline::after(milliseconds(200)), nullptr);
        unique_fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        endpoint at = make_endpoint(path);
        if (::bind(fd.get(), at.get(), at.size) != 0 || ::listen(fd.get(), 1) != 0) ::_exit(1);
        for (;;) ::pause();
    }
    auto door = open_at(path);
    CHECK(door.error() == std::errc::address_in_use);
    ::kill(server, SIGKILL);
    ::waitpid(server, nullptr, 0);
}

TEST_CASE("socket file: a child forked under the lock does not keep it") {
    folder f;
    unique_fd dir(::open(f.path.c_str(), O_PATH | O_CLOEXEC));
    pid_t child;
    {
        auto lock = lock_path(dir, f / "a.sock");
        REQUIRE(lock);
        child = ::fork();
        if (child == 0)
            for (;;) ::pause();
    }
    CHECK(lock_path(dir, f / "a.sock"));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
}

TEST_CASE("socket file: a lock file that was removed while we waited is no lock") {
    folder f;
    unique_fd dir(::open(f.path.c_str(), O_PATH | O_CLOEXEC));
    auto old = lock_path(dir, f / "a.sock");
    REQUIRE(old);
    ::unlink((f / "a.sock.lock").c_str());
    auto next = lock_path(dir, f / "a.sock");
    REQUIRE(next);
    struct stat is {};
    REQUIRE(::fstat(next->fd.get(), &is) == 0);
    CHECK(is_at(dir, f / "a.sock.lock", is));
}

TEST_CASE("socket file: take-over replaces the path; the old server leaves it alone") {
    no_leak l;
    folder f;
    auto first = open_at(f / "a.sock", taking_over()); // nothing there: as good
    REQUIRE(first);
    CHECK(file_type(f / "a.sock.new") == 0);
    leave_stale(f / "a.sock.new"); // of one that was killed half-way
    auto second = open_at(f / "a.sock", taking_over());
    REQUIRE(second);
    CHECK(file_type(f / "a.sock.new") == 0);
    CHECK(inode_of(f / "a.sock") == second->file.st_ino);
    CHECK(mode_of(f / "a.sock") == 0600);
    auto conn = try_connect(f / "a.sock");
    REQUIRE(conn);
    CHECK(unique_fd(::accept4(second->fd.get(), nullptr, nullptr, SOCK_CLOEXEC)));
    CHECK(::accept4(first->fd.get(), nullptr, nullptr, SOCK_CLOEXEC) == -1);
    remove_path(*first);
    CHECK(answers(f / "a.sock"));
    remove_path(*second);
    CHECK(file_type(f / "a.sock") == 0);
}

TEST_CASE("socket file: take-over: a live server at the staging name keeps its path") {
    no_leak l;
    folder f;
    auto other = open_at(f / "a.sock.new");
    REQUIRE(other);
    auto second = open_at(f / "a.sock", taking_over());
    CHECK(second.error() == std::errc::address_in_use);
    CHECK(contains(second.error(), f / "a.sock.new"));
    CHECK(answers(f / "a.sock.new"));
    CHECK(file_type(f / "a.sock") == 0);
    remove_path(*other);
}

TEST_CASE("socket file: take-over: what is no socket at the staging name is refused") {
    no_leak l;
    folder f;
    auto first = open_at(f / "a.sock");
    REQUIRE(first);
    write_file(f / "a.sock.new", "x");
    auto second = open_at(f / "a.sock", taking_over());
    CHECK(second.error() == std::errc::not_a_socket);
    CHECK(contains(second.error(), f / "a.sock.new"));
    CHECK(file_type(f / "a.sock.new") == S_IFREG);
    CHECK(answers(f / "a.sock"));
}

TEST_CASE("socket file: forty processes at once: one serves, others get address_in_use") {
    folder f;
    leave_stale(f / "a.sock");
    for (int round = 0; round < 5; ++round) {
        CAPTURE(round);
        int go[2], said[2], hold[2];
        REQUIRE((::pipe(go) == 0 && ::pipe(said) == 0 && ::pipe(hold) == 0));
        std::vector<pid_t> children;
        for (int i = 0; i < 40; ++i) {
            children.push_back(::fork());
            if (children.back() != 0) continue;
            char byte;
            ::close(go[1]), ::close(hold[1]);
            if (::read(go[0], &byte, 1) != 0) ::_exit(1);
            auto door = open_at(f / "a.sock");
            char word = door ? 'W' : door.error() == std::errc::address_in_use ? 'L' : 'E';
            if (::write(said[1], &word, 1) != 1) ::_exit(1);
            ::_exit(::read(hold[0], &byte, 1) == 0 ? 0 : 1); // the path stays: stale next time
        }
        ::close(go[0]), ::close(go[1]), ::close(said[1]), ::close(hold[0]);
        std::string words;
        for (char word; words.size() < 40 && ::read(said[0], &word, 1) == 1;) words += word;
        CHECK(answers(f / "a.sock"));
        ::close(hold[1]), ::close(said[0]);
        for (pid_t child : children) ::waitpid(child, nullptr, 0);
        auto count = [&](char w) {
            std::size_t n = 0;
            for (char c : words) n += c == w;
            return n;
        };
        CHECK(count('W') == 1);
        CHECK(count('L') == 39);
    }
}

TEST_CASE("socket file: abstract: served, exact, in use; nothing to unlink") {
    no_leak l;
    std::string name = "uds_http_test_" + std::to_string(::getpid());
    auto door = open_listener(address("@" + name), {});
    REQUIRE(door);
    CHECK(door->owner == 0);
    CHECK(open_listener(address("@" + name), {}).error() == std::errc::address_in_use);
    CHECK(contains(open_listener(address("@" + name), {}).error(), "@" + name + ": bind: "));
    CHECK(try_connect(address("@" + name)));
    CHECK(try_connect(address("http+unix://%00" + name + "/x")));
    auto longer = try_connect(address::abstract_name(name + '\0'));
    CHECK(longer.error() == std::errc::connection_refused);
    CHECK(open_listener(address::abstract_name(name + '\0'), {}));
    std::string longest = name + std::string(107 - name.size(), 'x');
    auto long_door = open_listener(address::abstract_name(longest), {});
    REQUIRE(long_door);
    CHECK(try_connect(address::abstract_name(longest)));
    remove_path(*door);
}

TEST_CASE("socket file: connect: each failure with its path, its code and its cause") {
    no_leak l;
    folder f;
    leave_stale(f / "stale");
    write_file(f / "file", "");
    std::string deep = f / std::string(200, 'd');
    unique_fd packets(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    endpoint at = make_endpoint(f / "packets");
    REQUIRE((::bind(packets.get(), at.get(), at.size) == 0 && ::listen(packets.get(), 1) == 0));
    struct {
        std::string path;
        std::errc code;
        const char* hint;
    } rows[] = {
        {f / "missing", std::errc::no_such_file_or_directory, "is the server running?"},
        {deep + "/missing", std::errc::no_such_file_or_directory, "is the server running?"},
        {f / "stale", std::errc::connection_refused, "nobody is listening"},
        {f / "file", std::errc::connection_refused, "is it a socket"},
        {f / "", std::errc::connection_refused, "is it a socket"},
        {f / "file/x", std::errc::not_a_directory, "x: connect: "},
        {f / "packets", std::errc::wrong_protocol_type, "not a stream socket"},
        {"@uds_http_test_nobody", std::errc::connection_refused, "nobody is listening"},
        {"/" + std::string(500, 'x'), std::errc::filename_too_long, ""},
    };
    canceller unused;
    for (const auto& r : rows)
        for (int way = 0; way < 3; ++way) {
            CAPTURE(r.path);
            CAPTURE(way);
            deadline soon = deadline::after(milliseconds(5'000));
            auto conn = way == 0   ? try_connect(r.path)
                        : way == 1 ? connect_to(r.path, soon, nullptr)
                                   : connect_to(r.path, soon, access::of(unused).get());
            CHECK(conn.error() == r.code);
            CHECK(contains(conn.error(), r.path.substr(0, 100)));
            CHECK(contains(conn.error(), ": connect"));
            CHECK(contains(conn.error(), r.hint));
        }
}

TEST_CASE("socket file: connect: no permission on the socket, or none to enter its folder") {
    if (::geteuid() != 0) return; // needs two users
    folder f;
    auto closed = open_at(f / "closed", with_mode(0600)),
         open = open_at(f / "open", with_mode(0666));
    ::mkdir((f / "inner").c_str(), 0700);
    auto hidden = open_at(f / "inner/a", with_mode(0666));
    REQUIRE((closed && open && hidden));
    CHECK(in_child([&] {
              if (!become_nobody()) return 1;
              if (!answers(f / "open")) return 2;
              for (const std::string& path : {f / "closed", f / "inner/a"}) {
                  auto conn = connect_to(path, deadline(), nullptr);
                  if (!(conn.error() == std::errc::permission_denied)) return 3;
                  if (!contains(conn.error(), path)) return 4;
                  if (!contains(conn.error(), "no write permission")) return 5;
              }
              return 0;
          }) == 0);
}

TEST_CASE("socket file: listen: no permission in the folder, or to look at what is there") {
    if (::geteuid() != 0) return;
    folder f;
    ::mkdir((f / "shared").c_str(), 01777);
    ::chmod((f / "shared").c_str(), 01777);
    auto ours = open_at(f / "shared/a", with_mode(0600));
    REQUIRE(ours);
    ::unlink((f / "shared/a.lock").c_str());
    ino_t inode = inode_of(f / "shared/a");
    CHECK(in_child([&] {
              if (!become_nobody()) return 1;
              if (!(open_at(f / "b").error() == std::errc::permission_denied)) return 2;
              if (!(open_at(f / "shared/a").error() == std::errc::permission_denied)) return 3;
              return 0;
          }) == 0);
    CHECK(file_type(f / "shared/a.lock") == 0); // a refusal leaves nothing behind
    CHECK(inode_of(f / "shared/a") == inode);
    CHECK(answers(f / "shared/a"));
}

TEST_CASE("socket file: listen: without /proc it is that which is missing, not the path") {
    if (::geteuid() != 0) return;
    folder f;
    auto dead = open_at(f / "dead", with_mode(0600));
    REQUIRE(dead);
    dead->fd = unique_fd();
    CHECK(in_child([&] {
              if (::chroot(f.path.c_str()) != 0 || ::chdir("/") != 0) return 1;
              for (const char* path : {"/new", "/dead"}) {
                  auto door = open_at(path);
                  if (!(door.error() == std::errc::no_such_file_or_directory)) return 2;
                  if (!contains(door.error(), "/proc/self/fd: ")) return 3;
              }
              return file_type("/new") == 0 && file_type("/new.lock") == 0 ? 0 : 4;
          }) == 0);
}

namespace {

struct full_door {
    folder f;
    std::string path = f / "a.sock";
    listener door;
    unique_fd waiting;
    full_door() : door(make()), waiting(*try_connect(path)) {
        const error full = try_connect(path).error();
        CHECK(full == std::errc::resource_unavailable_try_again);
        CHECK(contains(full, "backlog full"));
    }
    listener make() {
        listen_options o;
        o.backlog = 0;
        return *open_at(path, o);
    }
    unique_fd take() { return unique_fd(::accept4(door.fd.get(), nullptr, nullptr, SOCK_CLOEXEC)); }
};

} // namespace

TEST_CASE("socket file: connect: a full backlog times out, in time") {
    no_leak l;
    full_door d;
    canceller unused;
    for (const cancel_state* cancel :
         {static_cast<cancel_state*>(nullptr), access::of(unused).get()}) {
        auto start = std::chrono::steady_clock::now();
        auto conn = connect_to(d.path, deadline::after(milliseconds(60)), cancel);
        CHECK(conn.error() == std::errc::timed_out);
        CHECK(contains(conn.error(), d.path + ": connect (backlog full"));
        CHECK(since(start) >= milliseconds(60));
        CHECK(connect_to(d.path, deadline::after(milliseconds(0)), cancel).error() ==
              std::errc::timed_out);
    }
}

TEST_CASE("socket file: connect: with room in the backlog it goes on, blocking and close-on-exec") {
    no_leak l;
    full_door d;
    canceller unused;
    for (const cancel_state* cancel :
         {static_cast<cancel_state*>(nullptr), access::of(unused).get()}) {
        pid_t child = ::fork();
        if (child == 0) ::_exit(d.take() ? 0 : 1);
        auto conn = connect_to(d.path, deadline::after(milliseconds(10'000)), cancel);
        REQUIRE(conn);
        CHECK((::fcntl(conn->get(), F_GETFL) & O_NONBLOCK) == 0);
        CHECK((::fcntl(conn->get(), F_GETFD) & FD_CLOEXEC) != 0);
        ::waitpid(child, nullptr, 0);
    }
    d.take();
    auto tried = try_connect(d.path);
    REQUIRE(tried);
    CHECK((::fcntl(tried->get(), F_GETFL) & O_NONBLOCK) != 0);
    CHECK((::fcntl(tried->get(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("socket file: connect: a canceller ends the wait from another thread") {
    no_leak l;
    full_door d;
    canceller c;
    pthread_t waker;
    auto act = [](void* self) -> void* {
        wait_ready(-1, 0, deadline::after(milliseconds(20)), nullptr);
        static_cast<canceller*>(self)->cancel();
        return nullptr;
    };
    REQUIRE(::pthread_create(&waker, nullptr, act, &c) == 0);
    auto start = std::chrono::steady_clock::now();
    auto conn = connect_to(d.path, deadline::after(milliseconds(30'000)), access::of(c).get());
    ::pthread_join(waker, nullptr);
    CHECK(conn.error() == std::errc::operation_canceled);
    CHECK(since(start) < milliseconds(10'000));
    d.take(); // room now, but cancelled stays cancelled
    CHECK(connect_to(d.path, deadline(), access::of(c).get()).error() ==
          std::errc::operation_canceled);
}

namespace {

enum what { none, good, second, tcp, dgram, connected, file, closed };

/// Puts descriptors at 3, 4, ... like a service manager. Only in a forked child.
void place(int at, what kind) {
    unique_fd made;
    if (kind == good || kind == second) {
        std::string name = std::to_string(::getpid()) + (kind == good ? "a" : "b");
        auto door = open_listener(address::abstract_name(name), {});
        made = std::move(door->fd);
    }
    int pair[2];
    if (kind == tcp) {
        made = unique_fd(::socket(AF_INET, SOCK_STREAM, 0));
        ::listen(made.get(), 1);
    }
    if (kind == dgram) made = unique_fd(::socket(AF_UNIX, SOCK_DGRAM, 0));
    if (kind == connected && ::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0)
        made = unique_fd(pair[0]);
    if (kind == file) made = unique_fd(::open("/dev/null", O_RDONLY));
    if (kind == closed) ::close(at);
    if (made.get() == at) made.release(), ::fcntl(at, F_SETFD, 0);
    else if (made) ::dup2(made.get(), at);
}

struct inherited_row {
    const char* name;
    const char *pid, *fds, *names; // pid "": ours
    what at3, at4;
    int count; // -1: bad_descriptor, -2: invalid_argument
    const char *name3 = "", *name4 = "";
};

const inherited_row inherited_rows[] = {
    {"one, named", "", "1", "web", good, none, 1, "web"},
    {"two, named", "", "2", "web:admin", good, second, 2, "web", "admin"},
    {"fewer names than descriptors", "", "2", "web", good, second, 2, "web", ""},
    {"more names than descriptors", "", "1", "web:admin", good, none, 1, "web"},
    {"an empty name", "", "2", ":admin", good, second, 2, "", "admin"},
    {"no names", "", "1", nullptr, good, none, 1},
    {"none", "", "0", nullptr, none, none, 0},
    {"no variables", nullptr, nullptr, nullptr, good, none, 0},
    {"no LISTEN_PID", nullptr, "1", nullptr, good, none, 0},
    {"another's LISTEN_PID", "1", "1", nullptr, good, none, 0},
    {"no number for a LISTEN_PID", "abc", "1", nullptr, good, none, 0},
    {"no LISTEN_FDS", "", nullptr, nullptr, good, none, 0},
    {"no number", "", "x", nullptr, good, none, -2},
    {"empty", "", "", nullptr, good, none, -2},
    {"negative", "", "-1", nullptr, good, none, -2},
    {"a number and more", "", "1x", nullptr, good, none, -2},
    {"too large a number", "", "99999999999", nullptr, good, none, -2},
    {"more than there are", "", "2", nullptr, good, closed, -1},
    {"far more than there are", "", "999999999", nullptr, good, closed, -1},
    {"a TCP listener", "", "2", nullptr, good, tcp, -1},
    {"a datagram socket", "", "1", nullptr, dgram, none, -1},
    {"a connection", "", "1", nullptr, connected, none, -1},
    {"a file", "", "1", nullptr, file, none, -1},
};

int set_variable(const char* name, const char* value) {
    return value ? ::setenv(name, value, 1) : ::unsetenv(name);
}

int run_row(const inherited_row& r) {
    std::string ours = std::to_string(::getpid());
    place(3, r.at3), place(4, r.at4);
    set_variable("LISTEN_PID", r.pid && !*r.pid ? ours.c_str() : r.pid);
    set_variable("LISTEN_FDS", r.fds), set_variable("LISTEN_FDNAMES", r.names);
    auto got = inherited_listeners();
    if (::getenv("LISTEN_PID") || ::getenv("LISTEN_FDS") || ::getenv("LISTEN_FDNAMES")) return 1;
    if (r.count < 0) {
        if (got) return 2;
        if (r.at3 != closed && ::fcntl(3, F_GETFD) != 0) return 3; // left as it was
        bool right = r.count == -1 ? got.error() == errc::bad_descriptor
                                   : got.error() == std::errc::invalid_argument;
        return right && contains(got.error(), "LISTEN_FDS") ? 0 : 4;
    }
    if (!got || static_cast<int>(got->size()) != r.count) return 5;
    for (int i = 0; i < r.count; ++i) {
        const named_fd& one = (*got)[static_cast<std::size_t>(i)];
        if (one.fd.get() != 3 + i || one.name != (i == 0 ? r.name3 : r.name4)) return 6;
        if (!(::fcntl(3 + i, F_GETFD) & FD_CLOEXEC)) return 7;
        if (!(::fcntl(3 + i, F_GETFL) & O_NONBLOCK)) return 8;
    }
    auto again = inherited_listeners();
    return again && again->empty() ? 0 : 9;
}

} // namespace

TEST_CASE("socket file: inherited: what LISTEN_PID, LISTEN_FDS and the sockets confirm") {
    for (const inherited_row& r : inherited_rows) {
        CAPTURE(r.name);
        CHECK(in_child([&] { return run_row(r); }) == 0);
    }
}

TEST_CASE("socket file: inherited: clients see our credentials, not the service manager's") {
    std::string name = "uds_http_test_inherited_" + std::to_string(::getpid());
    auto door = open_listener(address("@" + name), {});
    REQUIRE(door);
    auto before = try_connect(address("@" + name));
    REQUIRE(before);
    CHECK(peer_of(before->get()).pid == ::getpid());
    pid_t child = ::fork();
    if (child == 0) {
        ::dup2(door->fd.get(), 3);
        ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
        ::setenv("LISTEN_FDS", "1", 1);
        ::_exit(inherited_listeners() ? 0 : 1);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    CHECK(status == 0);
    auto after = try_connect(address("@" + name));
    REQUIRE(after);
    CHECK(peer_of(after->get()).pid == child);
}

TEST_CASE("socket file: without a descriptor left it is that which is missing") {
    folder f;
    CHECK(in_child([&] {
              auto door = open_at(f / "a.sock");
              const int next = ::dup(0);
              const rlimit none{static_cast<rlim_t>(next), static_cast<rlim_t>(next)};
              if (!door || ::close(next) != 0 || ::setrlimit(RLIMIT_NOFILE, &none) != 0) return 1;
              constexpr auto missing = std::errc::too_many_files_open;
              if (!(try_connect(f / "a.sock").error() == missing)) return 2;
              if (!(connect_to(f / "a.sock", deadline(), nullptr).error() == missing)) return 3;
              if (!(open_listener("@uds_http_test_none_left", {}).error() == missing)) return 4;
              return 0;
          }) == 0);
}

TEST_CASE(
    "socket file: descriptors exhausted at any point: an error, no leak, no file left behind") {
    folder f;
    leave_stale(f / "stale");
    for (rlim_t spare = 0; spare < 6; ++spare) {
        CAPTURE(spare);
        CHECK(in_child([&] {
                  for (bool take_over : {false, true}) {
                      std::string path = f / (take_over ? "b" : "stale");
                      unique_fd next(::dup(0));
                      rlim_t limit = static_cast<rlim_t>(next.get()) + spare;
                      next = unique_fd();
                      rlimit old{}, low{};
                      ::getrlimit(RLIMIT_NOFILE, &old);
                      low = {limit, old.rlim_max};
                      ::setrlimit(RLIMIT_NOFILE, &low);
                      auto door = open_at(path, take_over ? taking_over() : listen_options());
                      ::setrlimit(RLIMIT_NOFILE, &old);
                      bool right = door || door.error() == std::errc::too_many_files_open;
                      if (!right) return 1;
                      if (is_socket(f / "b.new")) return 2;
                      if (!door && take_over && is_socket(f / "b")) return 3;
                      if (door) remove_path(*door);
                  }
                  return 0;
              }) == 0);
        if (!is_socket(f / "stale")) leave_stale(f / "stale");
    }
}
