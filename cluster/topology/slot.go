package topology

import "bytes"

// Slots is the number of hash slots, which must equal that of Redis Cluster, because its clients route by it.
const Slots = 16384

// ShardID numbers the shards from 0. Each shard holds a run of slots; all runs have the same length.
type ShardID int

// SlotsPerShard returns how many slots each of a number of shards holds. The number must pass CheckShards, here and below.
func SlotsPerShard(shards int) int { return Slots / shards }

// ShardOf returns which of a number of shards holds a slot.
func ShardOf(slot, shards int) ShardID { return ShardID(slot / SlotsPerShard(shards)) }

// ShardOfKey returns which of a number of shards holds a key.
func ShardOfKey(key []byte, shards int) ShardID { return ShardOf(Slot(key), shards) }

// Slots returns the first and the last slot that a shard holds, one of a number of shards.
func (id ShardID) Slots(shards int) (first, last int) {
	width := SlotsPerShard(shards)
	return int(id) * width, (int(id)+1)*width - 1
}

// Slot returns the hash slot of a key: CRC16 of the key, or of its hash tag, the text between the first
// '{' and the next '}', if that is not empty (Redis Cluster specification, "Hash tags").
func Slot(key []byte) int {
	if open := bytes.IndexByte(key, '{'); open >= 0 {
		if length := bytes.IndexByte(key[open+1:], '}'); length > 0 {
			key = key[open+1 : open+1+length]
		}
	}
	return int(crc16(key)) % Slots
}

// crc16 is CRC-16/XMODEM: polynomial 0x1021, start 0, not reflected (Redis Cluster specification, appendix A).
func crc16(b []byte) uint16 {
	var crc uint16
	for _, c := range b {
		crc = crc<<8 ^ crc16Table[byte(crc>>8)^c]
	}
	return crc
}

var crc16Table = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return table
}()
