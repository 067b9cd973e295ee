// A server of a herd, with a goroutine for each connection: go run herd.go CONFIG NAME
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	maxLine     = 4096
	maxClient   = 255
	maxNumber   = 32
	maxFraction = 18
	second      = int64(time.Second)
	maxFuture   = 86_400 * second
	maxAhead    = 10 * second
	minRetry    = 50 * time.Millisecond
	maxRetry    = time.Second
	bufferBytes = 2 * maxLine
)

const noPlaces = `{
   "html_attributions" : [],
   "results" : [],
   "status" : "ZERO_RESULTS"
}

`

// A report is the newest of a client: its order time, and its AT line with the line end.
type report struct {
	order int64
	line  []byte
}

func (r *report) beats(held *report) bool {
	if r.order != held.order || bytes.Equal(r.line, held.line) {
		return r.order > held.order
	}
	one, other := bytes.Fields(r.line), bytes.Fields(held.line)
	return cmp.Or(
		cmp.Compare(nanoseconds(one[5]), nanoseconds(other[5])),
		bytes.Compare(one[1], other[1]),
		bytes.Compare(one[4], other[4]),
		cmp.Compare(parseSkew(other[2]), parseSkew(one[2])),
		bytes.Compare(one[5], other[5]),
	) > 0
}

// A herd is the reports of one server, and its links.
type herd struct {
	name    string
	links   []*link
	mutex   sync.RWMutex
	reports map[string]*report
}

// answer appends the answer to a line of a client, which has no line end.
func (h *herd) answer(answers, line []byte) []byte {
	if len(line) > maxLine {
		line = line[:maxLine]
	} else if fields, ok := fourFields(line); ok {
		switch string(fields[0]) {
		case "IAMAT":
			if report := h.iamat(fields[1], fields[2], fields[3]); report != nil {
				h.merge(fields[1], report, "")
				return append(answers, report.line...)
			}
		case "WHATSAT":
			h.mutex.RLock()
			report := h.reports[string(fields[1])]
			h.mutex.RUnlock()
			isWhole := bytes.IndexByte(fields[3], '.') < 0
			if report != nil && isAtMost(fields[2], 50) && isWhole && isAtMost(fields[3], 20) {
				answers = append(answers, report.line...)
				return append(answers, noPlaces...)
			}
		}
	}
	answers = append(answers, "? "...)
	answers = append(answers, line...)
	return append(answers, '\n')
}

func (h *herd) iamat(client, position, text []byte) *report {
	now := time.Now().UnixNano()
	point := bytes.IndexByte(text, '.')
	isTime := len(text) <= maxNumber && (point < 0 || len(text)-point-1 <= maxFraction) &&
		isAtMost(text, (now+maxFuture)/second+1)
	if !isTime || !isPosition(position) || len(client) > maxClient || !utf8.Valid(client) {
		return nil
	}
	sent := nanoseconds(text)
	if sent > now+maxFuture {
		return nil
	}
	skew := now - sent
	line := make([]byte, 0, len(h.name)+len(client)+len(position)+len(text)+28)
	line = append(line, "AT "...)
	line = append(line, h.name...)
	line = appendSkew(append(line, ' '), skew)
	for _, field := range [][]byte{client, position, text} {
		line = append(line, ' ')
		line = append(line, field...)
	}
	return &report{orderTime(sent, skew), append(line, '\n')}
}

// merge keeps a report that is newer than the one held, and passes it on.
func (h *herd) merge(client []byte, report *report, sender string) {
	h.mutex.Lock()
	held := h.reports[string(client)]
	if held != nil && !report.beats(held) {
		h.mutex.Unlock()
		return
	}
	id := string(client)
	h.reports[id] = report
	h.mutex.Unlock()
	for _, link := range h.links {
		if link.name != sender {
			link.push(id, report)
		}
	}
}

// fourFields splits at the white space of the protocol, which is less than Unicode's.
func fourFields(line []byte) (fields [4][]byte, ok bool) {
	count := 0
	for i := 0; i < len(line); {
		if isSpace(line[i]) {
			i++
			continue
		}
		start := i
		for i < len(line) && !isSpace(line[i]) {
			i++
		}
		if count == 4 {
			return fields, false
		}
		fields[count] = line[start:i]
		count++
	}
	return fields, count == 4
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isSign(c byte) bool { return c == '+' || c == '-' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isPosition(text []byte) bool {
	text = bytes.TrimSuffix(text, []byte("/"))
	if len(text) == 0 {
		return false
	}
	second := 1 + bytes.IndexAny(text[1:], "+-")
	return second > 0 && isCoordinate(text[:second], 90) && isCoordinate(text[second:], 180)
}

func isCoordinate(text []byte, bound int64) bool {
	return len(text) <= maxNumber && isSign(text[0]) && isAtMost(text[1:], bound)
}

// isAtMost reports whether text is digits with at most one inner point, compared exactly.
func isAtMost(text []byte, bound int64) bool {
	i, whole := 0, int64(0)
	for ; i < len(text) && isDigit(text[i]); i++ {
		// It stays above the bound once it is.
		if whole <= bound {
			whole = 10*whole + int64(text[i]-'0')
		}
	}
	if i == 0 || i == len(text) {
		return i > 0 && whole <= bound
	}
	fraction := text[i+1:]
	if text[i] != '.' || len(fraction) == 0 {
		return false
	}
	isZero := true
	for _, c := range fraction {
		if !isDigit(c) {
			return false
		}
		isZero = isZero && c == '0'
	}
	return whole < bound || whole == bound && isZero
}

// nanoseconds parses a time that is valid.
func nanoseconds(text []byte) int64 {
	whole, fraction, _ := bytes.Cut(text, []byte("."))
	nanos := int64(0)
	for _, c := range whole {
		nanos = 10*nanos + int64(c-'0')
	}
	for i := range 9 {
		nanos *= 10
		if i < len(fraction) {
			nanos += int64(fraction[i] - '0')
		}
	}
	return nanos
}

func parseSkew(text []byte) int64 {
	skew := nanoseconds(text[1:])
	if text[0] == '-' {
		return -skew
	}
	return skew
}

func appendSkew(line []byte, skew int64) []byte {
	sign := byte('+')
	if skew < 0 {
		sign, skew = '-', -skew
	}
	line = strconv.AppendInt(append(line, sign), skew/second, 10)
	// The leading one keeps the zeros after it.
	point := len(line)
	line = strconv.AppendInt(line, second+skew%second, 10)
	line[point] = '.'
	return line
}

// orderTime returns the time by which reports are ordered: at most 10 s after they were received.
func orderTime(sent, skew int64) int64 { return sent + min(0, skew+maxAhead) }

// readLine returns a line and whether it has a line end, which it omits. Of a line that is too
// long it returns more than maxLine bytes. The line is valid until the next call.
func readLine(reader *bufio.Reader) (line []byte, err error) {
	line, err = reader.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line = bytes.Clone(line[:maxLine+1])
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = reader.ReadSlice('\n')
		}
		return line, err
	}
	if err == nil {
		line = bytes.TrimSuffix(line[:len(line)-1], []byte("\r"))
	}
	return line, err
}

// serveClient serves a connection of a client.
func (h *herd) serveClient(conn net.Conn) error {
	reader := bufio.NewReaderSize(conn, bufferBytes)
	var answers []byte
	for {
		line, err := readLine(reader)
		if err == nil || len(line) > 0 {
			answers = h.answer(answers, line)
		}
		// Whole lines that wait are answered in the same write.
		if len(answers) > 0 && (err != nil || !hasLine(reader) || len(answers) > bufferBytes) {
			if _, err := conn.Write(answers); err != nil {
				return err
			}
			answers = answers[:0]
		}
		if err != nil {
			return err
		}
	}
}

func hasLine(reader *bufio.Reader) bool {
	buffered, _ := reader.Peek(reader.Buffered())
	return bytes.IndexByte(buffered, '\n') >= 0
}

// serveNeighbour serves a connection on which a neighbour sends its name and then AT lines.
func (h *herd) serveNeighbour(conn net.Conn) error {
	reader := bufio.NewReaderSize(conn, 1<<16)
	line, err := readLine(reader)
	sender := string(line)
	for err == nil {
		if line, err = reader.ReadSlice('\n'); err != nil {
			break
		}
		fields := bytes.SplitN(line[:len(line)-1], []byte(" "), 6)
		sent := nanoseconds(fields[5])
		order := sent
		// Only a negative skew, that of a client whose clock is ahead, can change the order.
		if fields[2][0] == '-' {
			order = orderTime(sent, parseSkew(fields[2]))
		}
		h.merge(fields[3], &report{order, bytes.Clone(line)}, sender)
	}
	return err
}

// A link is the connection on which this server sends to one neighbour.
type link struct {
	herd    *herd
	name    string
	address string
	mutex   sync.Mutex
	// At most one report for each client, however long the neighbour takes; nil without a
	// connection.
	pending map[string]*report
	isDue   chan struct{}
}

func (l *link) push(client string, report *report) {
	l.mutex.Lock()
	if l.pending != nil {
		l.pending[client] = report
	}
	l.mutex.Unlock()
	select {
	case l.isDue <- struct{}{}:
	default:
	}
}

// take returns what is pending, and puts next in its place.
func (l *link) take(next map[string]*report) map[string]*report {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	taken := l.pending
	l.pending = next
	return taken
}

func (l *link) run() {
	for retry := minRetry; ; retry = min(2*retry, maxRetry) {
		if conn, err := net.Dial("tcp", l.address); err == nil {
			retry = minRetry
			l.send(conn)
			l.take(nil)
			conn.Close()
		}
		time.Sleep(retry)
	}
}

func (l *link) send(conn net.Conn) {
	// Without a reader, the end of the connection would go unnoticed.
	isClosed := make(chan struct{})
	go func() {
		io.Copy(io.Discard, conn)
		close(isClosed)
	}()
	writer := bufio.NewWriterSize(conn, 1<<16)
	fmt.Fprintln(writer, l.herd.name)
	l.take(map[string]*report{})
	// Nothing tells what the neighbour has, so it gets everything.
	l.herd.mutex.RLock()
	all := make([]*report, 0, len(l.herd.reports))
	for _, report := range l.herd.reports {
		all = append(all, report)
	}
	l.herd.mutex.RUnlock()
	for _, report := range all {
		writer.Write(report.line)
	}
	for {
		if writer.Flush() != nil {
			return
		}
		select {
		case <-l.isDue:
		case <-isClosed:
			return
		}
		for _, report := range l.take(map[string]*report{}) {
			writer.Write(report.line)
		}
	}
}

func listen(port string, serve func(net.Conn) error) {
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				log.Print(err)
				time.Sleep(maxRetry)
				continue
			}
			go func() {
				defer conn.Close()
				// An error is the end of the connection.
				_ = serve(conn)
			}()
		}
	}()
}

func main() {
	config, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	h := &herd{name: os.Args[2], reports: map[string]*report{}}
	ports := map[string][]string{}
	for line := range strings.Lines(string(config)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 4 && fields[0] == "server" {
			ports[fields[1]] = fields[2:]
		}
		if len(fields) != 3 || fields[0] != "link" {
			continue
		}
		for _, pair := range [][]string{{fields[1], fields[2]}, {fields[2], fields[1]}} {
			if pair[0] == h.name {
				address := "127.0.0.1:" + ports[pair[1]][1]
				isDue := make(chan struct{}, 1)
				h.links = append(h.links, &link{herd: h, name: pair[1], address: address, isDue: isDue})
			}
		}
	}
	listen(ports[h.name][0], h.serveClient)
	listen(ports[h.name][1], h.serveNeighbour)
	for _, link := range h.links {
		go link.run()
	}
	select {}
}
