// client SOCKET: asks hello, by net/http with a DialContext. `ok WHAT` or `FAILED WHAT: WHY`, then `end`.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
)

var dials int32
var api = http.Client{Transport: &http.Transport{
	MaxIdleConnsPerHost: 8,
	DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		atomic.AddInt32(&dials, 1)
		return (&net.Dialer{}).DialContext(ctx, "unix", os.Args[1])
	},
}}

func say(what string, good bool, why ...any) {
	if good {
		fmt.Println("ok", what)
	} else {
		fmt.Println("FAILED "+what+":", fmt.Sprint(why...))
	}
}

func get(target string) string {
	res, err := api.Get("http://unix" + target)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	got, _ := io.ReadAll(res.Body)
	return string(got)
}

func expect(what, method, target string, body io.Reader, field string, status int, expected []byte) {
	request, _ := http.NewRequest(method, "http://unix"+target, body)
	if field != "" {
		request.Header.Set("Expect", field)
	}
	res, err := api.Do(request)
	if err != nil {
		say(what, false, err)
		return
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	good := err == nil && res.StatusCode == status && (expected == nil || bytes.Equal(got, expected))
	say(what, good, res.StatusCode, len(got), err)
}

func main() {
	expect("GET", "GET", "/", nil, "", 200, []byte("Hello Anonymous"))
	expect("parameter", "GET", "/w%C3%B6rld", nil, "", 200, []byte("Hello wörld"))
	good := 0
	for i := 0; i < 100; i++ {
		if get("/world") == "Hello world" {
			good++
		}
	}
	say("keep-alive", good == 100 && dials == 1, good, " of 100, connections: ", dials)
	var all sync.WaitGroup
	var right int32
	for i := 0; i < 200; i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			if get(fmt.Sprint("/", i)) == fmt.Sprint("Hello ", i) {
				atomic.AddInt32(&right, 1)
			}
		}(i)
	}
	all.Wait()
	say("200 at once", right == 200, right)
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	expect("HEAD", "HEAD", "/world", nil, "", 200, []byte{})
	expect("404", "GET", "/a/b/c", nil, "", 404, nil)
	expect("405", "DELETE", "/world", nil, "", 405, nil)
	expect("POST echo", "POST", "/echo", bytes.NewReader([]byte("some bytes")), "", 200, []byte("some bytes"))
	expect("POST of 4 MB", "POST", "/echo", bytes.NewReader(large), "", 200, large)
	expect("chunked POST", "POST", "/echo", io.MultiReader(bytes.NewReader(large)), "", 200, large)
	expect("Expect", "POST", "/echo", bytes.NewReader(large), "100-continue", 200, large)
	fmt.Println("end")
}
