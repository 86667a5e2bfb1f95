package protocol

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// The arguments of a command with arrays may be as large as an array, until they are parsed. These bound
// the others, in bytes.
const (
	maxOption    = 16
	maxOperand   = 128
	maxRequestID = 64
)

// setOptions are the options of NP.SET, behind the array.
type setOptions struct {
	attrs       []byte
	parts       []int // positions of the parts' names; the bytes follow each
	crc         uint32
	hasCRC      bool
	condition   shard.Condition
	ifVersion   shard.Version
	expiry      shard.Expiry
	requestID   string
	concern     shard.Concern
	withVersion bool
}

// optionGroup maps options that exclude each other to one name.
var optionGroup = map[string]string{
	"NX": "condition", "XX": "condition", "IFVERSION": "condition",
	"EX": "expiry", "PX": "expiry", "EXAT": "expiry", "PXAT": "expiry", "KEEPTTL": "expiry",
	"ATTRS": "attrs", "CRC32C": "crc", "WC": "concern", "REQID": "id", "WITHVERSION": "reply",
}

// parseSetOptions parses the arguments that follow the array.
func parseSetOptions(args []resp.Arg, now int64) (o setOptions, err error) {
	given := map[string]bool{}
	for i := 3; i < len(args); i++ {
		if len(args[i].Bytes()) > maxOption {
			return o, errSyntax
		}
		name := upper(string(args[i].Bytes()))
		if group := optionGroup[name]; group != "" {
			if given[group] {
				return o, errSyntax
			}
			given[group] = true
		}
		operands := 1
		switch name {
		case "NX", "XX", "KEEPTTL", "WITHVERSION":
			operands = 0
		case "PART":
			operands = 2
		}
		if i+operands >= len(args) {
			return o, errSyntax
		}
		if name == "PART" {
			if len(o.parts) == shard.MaxParts {
				return o, fmt.Errorf("%w: more than %d parts", resp.ErrTooLarge, shard.MaxParts)
			}
			if len(args[i+1].Bytes()) > shard.MaxPartName {
				return o, fmt.Errorf("%w: it has more than %d characters", shard.ErrPartName, shard.MaxPartName)
			}
			o.parts = append(o.parts, i+1)
		} else if err := o.set(name, args[i+operands].Bytes(), now); err != nil {
			return o, err
		}
		i += operands
	}
	return o, nil
}

// set applies one option. Operand is the argument after it, if it has one.
func (o *setOptions) set(name string, operand []byte, now int64) (err error) {
	if name != "ATTRS" && len(operand) > maxOperand {
		return errSyntax
	}
	switch name {
	case "NX":
		o.condition = shard.IfMissing
	case "XX":
		o.condition = shard.IfPresent
	case "IFVERSION":
		o.condition = shard.IfVersion
		o.ifVersion, err = shard.ParseVersion(string(operand))
	case "EX", "PX", "EXAT", "PXAT":
		o.expiry.At, err = parseExpiry(name, operand, "np.set", now)
	case "KEEPTTL":
		o.expiry.Keep = true
	case "ATTRS":
		if len(operand) > shard.MaxAttrs {
			return fmt.Errorf("%w: attrs have %d bytes, the limit is %d", resp.ErrTooLarge, len(operand), shard.MaxAttrs)
		}
		o.attrs = operand
	case "CRC32C":
		n, parseErr := strconv.ParseUint(string(operand), 10, 32)
		if parseErr != nil {
			return fmt.Errorf("CRC32C %w", errInteger)
		}
		o.crc, o.hasCRC = uint32(n), true
	case "WC":
		known := false
		if o.concern, known = shard.ParseConcern(string(operand)); !known {
			return errSyntax
		}
	case "REQID":
		if len(operand) == 0 || len(operand) > maxRequestID {
			return fmt.Errorf("a REQID has 1 to %d bytes, not %d", maxRequestID, len(operand))
		}
		o.requestID = string(operand)
	case "WITHVERSION":
		o.withVersion = true
	default:
		return errSyntax
	}
	return err
}

// parseExpiry returns the Unix time in ms for an option such as EX.
func parseExpiry(option string, operand []byte, command string, now int64) (int64, error) {
	n, ok := resp.ParseInt(operand)
	if !ok {
		return 0, errInteger
	}
	if n <= 0 {
		return 0, errInvalidExpire(command)
	}
	unit, relative := int64(1), !strings.HasSuffix(option, "AT")
	if option[0] == 'E' {
		unit = 1000
	}
	at, ok := deadline(n, unit, relative, now)
	if !ok {
		return 0, errInvalidExpire(command)
	}
	return at, nil
}

// deadline returns n units of so many ms, from now if relative. It returns false on overflow.
func deadline(n, unit int64, relative bool, now int64) (int64, bool) {
	if n > math.MaxInt64/unit || n < math.MinInt64/unit {
		return 0, false
	}
	n *= unit
	if relative {
		if n > math.MaxInt64-now {
			return 0, false
		}
		n += now
	}
	return n, true
}

func errInvalidExpire(command string) error {
	return fmt.Errorf("invalid expire time in '%s' command", command)
}

func errPartTooLarge(name string, n int, limit int64) error {
	return fmt.Errorf("%w: part %s has %d bytes, the limit is %d", resp.ErrTooLarge, name, n, limit)
}

func errArrivedCorrupt(sent, arrived uint32) error {
	return fmt.Errorf("%w on arrival: the sender computed %d, the bytes have %d", shard.ErrCorrupt, sent, arrived)
}

func errOfKey(key []byte, err error) error { return fmt.Errorf("key %.64q: %w", key, err) }

func upper(s string) string { return strings.ToUpper(s) }
