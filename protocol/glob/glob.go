// Package glob matches names against the patterns of Redis' KEYS.
package glob

// Match reports whether text matches a pattern: * ? [abc] [a-z] [^a], and \ before a character that
// stands for itself. It backtracks to the last star only, which bounds its time by the product of both
// lengths.
func Match(pattern, text []byte) bool {
	star, resume := -1, 0
	p, t := 0, 0
	for t < len(text) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				star, resume = p, t
				p++
				continue
			}
			if matches, width := matchOne(pattern[p:], text[t]); matches {
				p += width
				t++
				continue
			}
		}
		if star < 0 {
			return false
		}
		resume++
		p, t = star+1, resume
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne matches a character with the first element of a pattern, and returns the length of the element.
func matchOne(pattern []byte, c byte) (matches bool, width int) {
	switch {
	case pattern[0] == '?':
		return true, 1
	case pattern[0] == '[':
		return matchClass(pattern, c)
	case pattern[0] == '\\' && len(pattern) > 1:
		return pattern[1] == c, 2
	}
	return pattern[0] == c, 1
}

// matchClass matches [...]. The end of the pattern closes an open class, as in Redis.
func matchClass(pattern []byte, c byte) (matches bool, width int) {
	i := 1
	negated := i < len(pattern) && pattern[i] == '^'
	if negated {
		i++
	}
	for ; i < len(pattern) && pattern[i] != ']'; i++ {
		switch {
		case pattern[i] == '\\' && i+1 < len(pattern):
			i++
			matches = matches || pattern[i] == c
		case i+2 < len(pattern) && pattern[i+1] == '-':
			low, high := min(pattern[i], pattern[i+2]), max(pattern[i], pattern[i+2])
			matches = matches || low <= c && c <= high
			i += 2
		default:
			matches = matches || pattern[i] == c
		}
	}
	return matches != negated, min(i+1, len(pattern))
}
