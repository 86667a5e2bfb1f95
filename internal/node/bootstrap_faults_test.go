//go:build faults

package node

func init() { killRounds = 25 }
