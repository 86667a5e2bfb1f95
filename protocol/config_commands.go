package protocol

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ndring/ndring/protocol/glob"
)

// Setting is a setting as CONFIG shows it.
type Setting struct{ Name, Value string }

// SettingError says why a setting was not changed. Reason is empty when there is none of that name, Reset is true when it was to be reset.
type SettingError struct {
	Name, Reason string
	Reset        bool
}

func (e *SettingError) Error() string {
	command := "CONFIG SET"
	if e.Reset {
		command = "CLUSTER CONFIG RESET"
	}
	if e.Reason == "" {
		return fmt.Sprintf("Unknown option or number of arguments for %s - '%.128s'", command, e.Name)
	}
	return fmt.Sprintf("%s failed (possibly related to argument '%.128s') - %s", command, e.Name, e.Reason)
}

func configGet(c *call, host Host) { c.showSettings(host.Settings(), 2) }

// showSettings answers the settings of which one of the patterns has the name; those are the arguments from one on.
func (c *call) showSettings(settings []Setting, from int) {
	var found []Setting
	for _, setting := range settings {
		for i := from; i < len(c.args); i++ {
			pattern := string(c.arg(i))
			if !glob.Match([]byte(strings.ToLower(pattern)), []byte(setting.Name)) {
				continue
			}
			if strings.EqualFold(pattern, setting.Name) {
				setting.Name = pattern // a name comes back as it was asked for, as in Redis
			}
			found = append(found, setting)
			break
		}
	}
	c.replies.Map(len(found))
	for _, setting := range found {
		c.replies.Text(setting.Name)
		c.replies.Text(setting.Value)
	}
}

func configSet(c *call, host Host) {
	if len(c.args)%2 != 0 {
		c.replies.Error(errSyntax)
		return
	}
	if err := host.ChangeSettings(c.settingPairs(2)); err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.OK()
}

func configResetStat(c *call, s *Server) {
	s.resetStats()
	c.replies.OK()
}

// configRewrite always fails: settings come from flags and the environment, which nobody can write back.
func configRewrite(c *call) {
	c.replies.Error(errors.New("The server is running without a config file"))
}

func shutdown(c *call, x *conn) {
	save := ""
	for i := 1; i < len(c.args); i++ {
		switch option := c.option(i); {
		case option == "ABORT" && len(c.args) == 2:
			c.replies.Error(errors.New("No shutdown in progress."))
			return
		case option == "NOW", option == "FORCE":
		case (option == "SAVE" || option == "NOSAVE") && (save == "" || save == option):
			save = option
		default:
			c.replies.Error(errSyntax)
			return
		}
	}
	x.server.log.Info("a client asks for a shutdown", "client", x.addr(), "name", x.identity.Load().name)
	c.close = true // without a reply, as in Redis
	how := ShutdownDefault
	switch save {
	case "SAVE":
		how = ShutdownSave
	case "NOSAVE":
		how = ShutdownNoSave
	}
	x.server.host.Shutdown(how)
}
