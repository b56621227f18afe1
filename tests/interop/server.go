// server SOCKET
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
)

func number(path string) int {
	n, _ := strconv.Atoi(path[strings.LastIndex(path, "/")+1:])
	return n
}

func main() {
	http.HandleFunc("/large/", func(w http.ResponseWriter, r *http.Request) {
		w.Write(bytes.Repeat([]byte("x"), number(r.URL.Path)))
	})
	http.HandleFunc("/pieces/", func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < number(r.URL.Path); i++ {
			fmt.Fprintf(w, "%d\n", i)
			w.(http.Flusher).Flush()
		}
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Path[1:]
		if r.Method == "DELETE" {
			w.WriteHeader(405)
			return
		}
		if name == "echo" && r.Method == "POST" {
			body, _ := io.ReadAll(r.Body)
			w.Write(body)
			return
		}
		if name == "" {
			name = "Anonymous"
		}
		fmt.Fprintf(w, "Hello %s", name)
	})
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		panic(err)
	}
	panic(http.Serve(listener, nil))
}
