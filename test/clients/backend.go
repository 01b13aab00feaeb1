// A backend in Go, which calls /notify through net/http. It reads orders from standard input, a line each: a count, and whether the
// calls are made `at once` or `in turn`. Of each order it prints how many calls ended how.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

func call(url, key string) string {
	request, err := http.NewRequest("POST", url, strings.NewReader(`{"msg":"from Go","channel":"msf"}`))
	if err != nil {
		return err.Error()
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-API-Key", key)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	if _, err = io.Copy(io.Discard, answer.Body); err != nil {
		return err.Error()
	}
	return strconv.Itoa(answer.StatusCode)
}

func main() {
	url, key := os.Args[2], os.Args[3]
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		number, way, _ := strings.Cut(orders.Text(), " ")
		count, _ := strconv.Atoi(number)
		calls := make(chan string, count)
		outcomes := map[string]int{}
		for range count {
			if way == "at once" {
				go func() { calls <- call(url, key) }()
			} else {
				calls <- call(url, key)
			}
		}
		for range count {
			outcomes[<-calls]++
		}
		line, _ := json.Marshal(outcomes)
		fmt.Println(string(line))
	}
}
