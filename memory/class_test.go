package memory

import "testing"

// Every size has the smallest class that holds it and loses at most 15 bytes or one in 64.
func TestClasses(t *testing.T) {
	for class := range classes - 1 {
		if stride, next := strideOf(class), strideOf(class+1); next <= stride || stride%granule != 0 {
			t.Fatalf("class %d has blocks of %d bytes, the next class of %d", class, stride, next)
		}
	}
	check := func(n int) {
		class := classOf(n)
		if strideOf(class) < n || class > 0 && strideOf(class-1) >= n {
			t.Fatalf("%d bytes have class %d with blocks of %d", n, class, strideOf(class))
		}
		if lost := strideOf(class) - n; lost > max(granule-1, n/64) {
			t.Fatalf("%d of %d bytes are lost", lost, n)
		}
		if last := min(class+near(class), classes-1); strideOf(last) > n+n/8+n/64+granule {
			t.Fatalf("a block of %d bytes may serve a request for %d", strideOf(last), n)
		}
	}
	for n := 1; n < 10_000; n++ {
		check(n)
	}
	for power := 13; power < maxBits; power++ {
		for _, n := range []int{1<<power - 1, 1 << power, 1<<power + 1, 1<<power + 1<<power/3} {
			check(n)
		}
	}
}
