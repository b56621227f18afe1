// Go's net/http: says what it took a request for.
package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	echo := func(w http.ResponseWriter, r *http.Request) {
		size, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			w.Header().Set("Connection", "close")
			w.WriteHeader(400)
			return
		}
		w.Header().Set("X-Seen", fmt.Sprintf("%s %s %d", r.Method, hex.EncodeToString([]byte(r.RequestURI)), size))
	}
	server := http.Server{Handler: http.HandlerFunc(echo), ErrorLog: log.New(io.Discard, "", 0), MaxHeaderBytes: 16 << 10}
	log.Fatal(server.Serve(listener))
}
