package persistence

import (
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"path"
	"strconv"
	"strings"
	"syscall"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/internal/uuid"
	"github.com/ndring/ndring/persistence/vfs"
)

// nodeManifest is the content of the MANIFEST of a data folder.
type nodeManifest struct {
	cluster, store uuid.UUID
	raft           uuid.UUID // zero for none
	shards         int
	incarnation    uint64
	bootID         string
	clean          bool     // the last stop synced every log
	lock           string   // which file was locked, as vfs.FileID says it; empty in a manifest of an earlier program
	unclean        doubt    // whether the copies may lack what they acknowledged, if the cluster may not know it yet
	starts         []uint64 // incarnations of earlier starts, the oldest first: the last one that the cluster is known to have noticed, and those since then
	damaged        []uint64 // shards in which damage was found, if the cluster may not know it yet; in order
}

// incarnationLine holds the incarnation. The format calls it epoch: when a node was alone, its shards
// were in the epoch of its start.
const incarnationLine = "epoch"

func (m *nodeManifest) write(fs vfs.FS, dir string) error {
	lines := []line{
		{"ndring", "node"}, {"format", strconv.Itoa(formatVersion)}, {"cluster", m.cluster.String()}, {"store", m.store.String()},
		{"shards", strconv.Itoa(m.shards)}, {incarnationLine, strconv.FormatUint(m.incarnation, 10)},
		{"boot", strings.Join(strings.Fields(m.bootID), "")}, {"clean", yesNo(m.clean)},
		{"unclean", m.unclean.String()},
	}
	if len(m.starts) > 0 {
		lines = append(lines, line{"starts", strings.Trim(fmt.Sprint(m.starts), "[]")})
	}
	if len(m.damaged) > 0 {
		lines = append(lines, line{"damaged", strings.Trim(fmt.Sprint(m.damaged), "[]")})
	}
	if m.lock != "" {
		lines = append(lines, line{"lock", m.lock})
	}
	if !m.raft.IsZero() {
		lines = append(lines, line{"raft", m.raft.String()})
	}
	return vfs.WriteFile(fs, path.Join(dir, manifestName), encodeLines(lines))
}

// doubt says why copies may lack what they acknowledged, in the words of the manifest.
type doubt string

const (
	noDoubt    doubt = ""
	powerDoubt doubt = "power" // what was not synced may be missing, and nothing else
	anyDoubt   doubt = "yes"   // the files may be of any age
)

func (d doubt) String() string {
	if d == noDoubt {
		return "no"
	}
	return string(d)
}

func parseDoubt(text string) doubt {
	if d := doubt(text); d == powerDoubt || d == anyDoubt {
		return d
	}
	return noDoubt
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func readNodeManifest(fs vfs.FS, dir string) (m nodeManifest, err error) {
	lines, err := readLines(fs, path.Join(dir, manifestName), "node", maxManifest)
	if err != nil {
		return m, err
	}
	var errCluster, errStore, errRaft, errShards, errIncarnation, errStarts, errDamaged error
	m.cluster, errCluster = uuid.Parse(lines["cluster"])
	m.store, errStore = uuid.Parse(lines["store"])
	if raft, ok := lines["raft"]; ok {
		m.raft, errRaft = uuid.Parse(raft)
	}
	m.shards, errShards = strconv.Atoi(lines["shards"])
	m.incarnation, errIncarnation = strconv.ParseUint(lines[incarnationLine], 10, 64)
	m.bootID, m.clean = lines["boot"], lines["clean"] == "yes"
	m.lock, m.unclean = lines["lock"], parseDoubt(lines["unclean"])
	m.starts, errStarts = parseNumbers(lines["starts"])
	m.damaged, errDamaged = parseNumbers(lines["damaged"])
	if err := errors.Join(errCluster, errStore, errRaft, errShards, errIncarnation, errStarts, errDamaged); err != nil {
		return m, fmt.Errorf("%w: %s: %w", errManifest, manifestName, err)
	}
	return m, nil
}

func parseNumbers(text string) (numbers []uint64, err error) {
	for _, field := range strings.Fields(text) {
		n, failed := strconv.ParseUint(field, 10, 64)
		numbers, err = append(numbers, n), errors.Join(err, failed)
	}
	return numbers, err
}

// shardManifest is the content of the MANIFEST of a shard.
type shardManifest struct {
	cluster  uuid.UUID
	shard    int
	snapshot string // the newest one; empty for none
	seq      uint64 // that the shard's records must reach
	commit   uint64 // the changes up to it are committed, though no record says so; 0 for none
	base     bool   // the snapshot is an installed copy, beside which no other file counts
}

func (m *shardManifest) encode() []byte {
	snapshot := m.snapshot
	if snapshot == "" {
		snapshot = "-"
	}
	lines := []line{
		{"ndring", "shard"}, {"format", strconv.Itoa(formatVersion)}, {"cluster", m.cluster.String()}, {"shard", strconv.Itoa(m.shard)},
		{"snapshot", snapshot}, {"seq", strconv.FormatUint(m.seq, 10)},
	}
	if m.commit > 0 {
		lines = append(lines, line{"commit", strconv.FormatUint(m.commit, 10)})
	}
	if m.base {
		lines = append(lines, line{"base", "yes"})
	}
	return encodeLines(lines)
}

// line is one line of a manifest or of the marks.
type line struct{ name, value string }

// encodeLines encodes lines, each a name and a value, and ends them with the CRC32C of what
// precedes it.
func encodeLines(lines []line) []byte {
	var b bytes.Buffer
	for _, l := range lines {
		fmt.Fprintf(&b, "%s %s\n", l.name, l.value)
	}
	fmt.Fprintf(&b, "crc32c %08x\n", crc32c.Checksum(b.Bytes()))
	return b.Bytes()
}

// maxManifest is the longest manifest that is read: that of a node may name all shards.
const maxManifest = 256 << 10 // bytes

// errManifest is returned for a manifest or marks that are damaged, or of another kind.
var errManifest = errors.New("damaged manifest")

// errLaterFormat is returned for a manifest or marks that a later program wrote. They are not damaged.
var errLaterFormat = errors.New("the folder is of a later program")

// ManifestLost reports whether an error of Inspect or OpenDisk means that the folder's MANIFEST is missing or damaged,
// so that RebuildManifest can help. It is neither if another process uses the folder, or a later program wrote it.
func ManifestLost(err error) bool {
	return errors.Is(err, errManifest) || errors.Is(err, iofs.ErrNotExist) || errors.Is(err, syscall.EIO)
}

func readLines(fs vfs.FS, name, kind string, limit int64) (map[string]string, error) {
	b, err := vfs.ReadFile(fs, name, limit)
	if err != nil {
		return nil, err
	}
	at := bytes.LastIndex(b, []byte("crc32c "))
	if at < 0 || string(b[at:]) != fmt.Sprintf("crc32c %08x\n", crc32c.Checksum(b[:at])) {
		return nil, fmt.Errorf("%w: %s does not end with its CRC32C", errManifest, name)
	}
	lines := map[string]string{}
	for _, l := range strings.Split(string(b[:at]), "\n") {
		name, value, _ := strings.Cut(l, " ")
		lines[name] = value
	}
	if lines["ndring"] != kind {
		return nil, fmt.Errorf("%w: %s is not the manifest of a %s", errManifest, name, kind)
	}
	switch format, err := strconv.Atoi(lines["format"]); {
	case err == nil && format > formatVersion:
		return nil, fmt.Errorf("%w: %s has format \"%d\", this program reads formats %d to %d", errLaterFormat, name, format, oldestVersion, formatVersion)
	case err != nil || format < oldestVersion:
		return nil, fmt.Errorf("%w: %s has format %.16q, this program reads formats %d to %d", errManifest, name, lines["format"], oldestVersion, formatVersion)
	}
	return lines, nil
}
