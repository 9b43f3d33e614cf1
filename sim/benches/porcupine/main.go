// Judges a history that vetcd-sim wrote with Porcupine, for comparison: the same operations, the
// same whole-store model, headers included. Nothing but the benchmark of the checker runs this.
//
// Usage: porcupine HISTORY SECONDS. Prints the verdict and the seconds that the check took, without
// reading the file.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

type compare struct {
	Key      string           `json:"key"`
	RangeEnd string           `json:"range_end"`
	Relation string           `json:"relation"`
	Operand  map[string]int64 `json:"operand"`
}

type request struct {
	Op       string    `json:"op"`
	Key      string    `json:"key"`
	RangeEnd string    `json:"range_end"`
	Value    string    `json:"value"`
	Compare  []compare `json:"compare"`
	Then     []request `json:"then"`
	Else     []request `json:"else"`
}

type keyValue struct {
	Key     string `json:"key"`
	Value   string `json:"value"`
	Create  int64  `json:"create_revision"`
	Mod     int64  `json:"mod_revision"`
	Version int64  `json:"version"`
	Lease   int64  `json:"lease"`
}

type body struct {
	Op        string     `json:"op"`
	Kvs       []keyValue `json:"kvs"`
	Count     int64      `json:"count"`
	Deleted   int64      `json:"deleted"`
	Succeeded bool       `json:"succeeded"`
	Responses []body     `json:"responses"`
}

type response struct {
	Revision int64 `json:"revision"`
	Body     body  `json:"body"`
}

type operation struct {
	Client   int     `json:"client"`
	Invoked  int64   `json:"invoked"`
	Returned *int64  `json:"returned"`
	Request  request `json:"request"`
	Outcome  struct {
		Ok      *response `json:"ok"`
		Unknown *string   `json:"unknown"`
	} `json:"outcome"`
}

// Never changed once made: Porcupine keeps many of them.
type state struct {
	revision int64
	keys     []keyValue // ascending
	hash     uint64
}

func (kv keyValue) hash() uint64 {
	hash := uint64(14695981039346656037)
	mix := func(b byte) { hash = (hash ^ uint64(b)) * 1099511628211 }
	for _, text := range []string{kv.Key, "\x00", kv.Value} {
		for i := 0; i < len(text); i++ {
			mix(text[i])
		}
	}
	for _, number := range []int64{kv.Create, kv.Mod, kv.Version} {
		for shift := 0; shift < 64; shift += 8 {
			mix(byte(number >> shift))
		}
	}
	return hash
}

func covers(key, start, end string) bool {
	switch end {
	case "":
		return key == start
	case "\x00":
		return key >= start
	default:
		return key >= start && key < end
	}
}

// A transaction works on a copy of the keys.
type scratch struct {
	before  *state
	keys    []keyValue
	hash    uint64
	changed bool
}

func (s *scratch) find(start, end string) []keyValue {
	var found []keyValue
	for _, kv := range s.keys {
		if covers(kv.Key, start, end) {
			found = append(found, kv)
		}
	}
	return found
}

func (s *scratch) remove(start, end string) int64 {
	var rest []keyValue
	for _, kv := range s.keys {
		if covers(kv.Key, start, end) {
			s.hash ^= kv.hash()
		} else {
			rest = append(rest, kv)
		}
	}
	gone := int64(len(s.keys) - len(rest))
	s.keys = rest
	return gone
}

func (s *scratch) put(key, value string) {
	now := s.before.revision + 1
	kv := keyValue{Key: key, Value: value, Create: now, Mod: now, Version: 1}
	if old := s.find(key, ""); len(old) > 0 {
		kv.Create, kv.Version = old[0].Create, old[0].Version+1
		s.remove(key, "")
	}
	at := 0
	for at < len(s.keys) && s.keys[at].Key < key {
		at++
	}
	keys := make([]keyValue, 0, len(s.keys)+1)
	keys = append(append(append(keys, s.keys[:at]...), kv), s.keys[at:]...)
	s.keys, s.hash, s.changed = keys, s.hash^kv.hash(), true
}

func (s *scratch) holds(c compare) bool {
	var kv keyValue
	for _, found := range s.before.keys {
		if found.Key == c.Key {
			kv = found
		}
	}
	for field, number := range c.Operand {
		have := map[string]int64{
			"mod_revision": kv.Mod, "create_revision": kv.Create, "version": kv.Version,
		}[field]
		if have != number {
			return false
		}
	}
	return true
}

// Whether the request can be answered like this; nothing is known of the answer where it is nil.
func (s *scratch) do(r *request, b *body) bool {
	switch r.Op {
	case "range":
		if b == nil {
			return true
		}
		found := s.find(r.Key, r.RangeEnd)
		if len(found) != len(b.Kvs) || int64(len(found)) != b.Count {
			return false
		}
		for i, kv := range found {
			if kv != b.Kvs[i] {
				return false
			}
		}
		return true
	case "put":
		s.put(r.Key, r.Value)
		return true
	case "delete":
		gone := s.remove(r.Key, r.RangeEnd)
		s.changed = s.changed || gone > 0
		return b == nil || gone == b.Deleted
	case "txn":
		succeeded := true
		for _, c := range r.Compare {
			succeeded = succeeded && s.holds(c)
		}
		if b != nil && succeeded != b.Succeeded {
			return false
		}
		requests := r.Else
		if succeeded {
			requests = r.Then
		}
		if b != nil && len(requests) != len(b.Responses) {
			return false
		}
		for i := range requests {
			var answer *body
			if b != nil {
				answer = &b.Responses[i]
			}
			if !s.do(&requests[i], answer) {
				return false
			}
		}
		return true
	}
	return false
}

func step(from, input, output interface{}) (bool, interface{}) {
	before := from.(*state)
	run := scratch{before: before, keys: before.keys, hash: before.hash}
	answer := output.(*response)
	var known *body
	if answer != nil {
		known = &answer.Body
	}
	if !run.do(input.(*request), known) {
		return false, before
	}
	after := before
	if run.changed {
		after = &state{revision: before.revision + 1, keys: run.keys, hash: run.hash}
	}
	if answer != nil && answer.Revision != after.revision {
		return false, before
	}
	return true, after
}

func equal(one, other interface{}) bool {
	a, b := one.(*state), other.(*state)
	if a == b {
		return true
	}
	if a.hash != b.hash || a.revision != b.revision || len(a.keys) != len(b.keys) {
		return false
	}
	for i := range a.keys {
		if a.keys[i] != b.keys[i] {
			return false
		}
	}
	return true
}

func read(path string) ([]porcupine.Operation, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var operations []porcupine.Operation
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, `{"format"`) {
			continue
		}
		var o operation
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			return nil, err
		}
		if o.Outcome.Ok == nil && o.Outcome.Unknown == nil {
			return nil, fmt.Errorf("neither answered nor unknown: %s", line)
		}
		end := int64(math.MaxInt64)
		if o.Returned != nil && o.Outcome.Unknown == nil {
			end = *o.Returned
		}
		request := o.Request
		operations = append(operations, porcupine.Operation{
			ClientId: o.Client,
			Input:    &request,
			Call:     o.Invoked,
			Output:   o.Outcome.Ok,
			Return:   end,
		})
	}
	return operations, lines.Err()
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: porcupine HISTORY SECONDS")
		os.Exit(2)
	}
	seconds, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	operations, err := read(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	model := porcupine.Model{
		Init:  func() interface{} { return &state{revision: 1} },
		Step:  step,
		Equal: equal,
		Hash: func(s interface{}) uint64 {
			return s.(*state).hash ^ uint64(s.(*state).revision)*0x9e3779b97f4a7c15
		},
	}
	start := time.Now()
	verdict := porcupine.CheckOperationsTimeout(model, operations, time.Duration(seconds)*time.Second)
	fmt.Printf("%s %.3f\n", strings.ToLower(string(verdict)), time.Since(start).Seconds())
}
