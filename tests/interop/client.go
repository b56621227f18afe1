// client SOCKET: prints `ok`, or what is wrong.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

func check(what string, res *http.Response, err error, status int, body []byte) {
	if err != nil {
		fmt.Println(what, err)
		os.Exit(1)
	}
	got, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || res.StatusCode != status || (body != nil && !bytes.Equal(got, body)) {
		fmt.Println(what, res.StatusCode, len(got), err)
		os.Exit(1)
	}
}

func main() {
	dials := 0
	api := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			dials++
			return (&net.Dialer{}).DialContext(ctx, "unix", os.Args[1])
		},
	}}
	for i := 0; i < 100; i++ {
		res, err := api.Get("http://unix/world")
		check("GET", res, err, 200, []byte("Hello world"))
	}
	if dials != 1 {
		fmt.Println("keep-alive:", dials, "connections")
		os.Exit(1)
	}
	res, err := api.Head("http://unix/world")
	check("HEAD", res, err, 200, []byte{})
	res, err = api.Get("http://unix/a/b/c")
	check("404", res, err, 404, nil)
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	res, err = api.Post("http://unix/echo", "application/octet-stream", bytes.NewReader(large))
	check("POST", res, err, 200, large)
	res, err = api.Post("http://unix/echo", "text/plain", io.MultiReader(bytes.NewReader(large))) // chunked
	check("chunked POST", res, err, 200, large)
	request, _ := http.NewRequest("POST", "http://unix/echo", bytes.NewReader(large))
	request.Header.Set("Expect", "100-continue")
	res, err = api.Do(request)
	check("Expect", res, err, 200, large)
	fmt.Println("ok")
}
