package resptest

// Endless is a stream that repeats a command forever.
type Endless struct {
	Command string

	at int // of the next byte
}

// Read implements io.Reader.
func (e *Endless) Read(b []byte) (n int, err error) {
	for n < len(b) {
		took := copy(b[n:], e.Command[e.at:])
		n += took
		e.at = (e.at + took) % len(e.Command)
	}
	return n, nil
}
