package protocol

import "fmt"

// infoField is a line of INFO.
type infoField struct {
	name  string
	value any
}

func human(n uint64) string {
	const units = "BKMGT"
	f, i := float64(n), 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	return fmt.Sprintf("%.2f%c", f, units[i])
}

func bit(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

func status(failed bool) string {
	if failed {
		return "err"
	}
	return "ok"
}

func percent(part, whole int64) string {
	if whole == 0 {
		return "0.00"
	}
	return fmt.Sprintf("%.2f", 100*float64(part)/float64(whole))
}
