package protocol

import (
	"errors"
	"fmt"
	"strings"
)

// Setting is a setting as CONFIG shows it.
type Setting struct{ Name, Value string }

// SettingError says why a setting was not changed. Reason is empty when there is none of that name.
type SettingError struct{ Name, Reason string }

func (e *SettingError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("Unknown option or number of arguments for CONFIG SET - '%.128s'", e.Name)
	}
	return fmt.Sprintf("CONFIG SET failed (possibly related to argument '%.128s') - %s", e.Name, e.Reason)
}

func configGet(c *call) {
	var found []Setting
	for _, setting := range c.server.host.Settings() {
		for i := 2; i < len(c.args); i++ {
			pattern := string(c.arg(i))
			if !globMatches([]byte(strings.ToLower(pattern)), []byte(setting.Name)) {
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

func configSet(c *call) {
	if len(c.args)%2 != 0 {
		c.replies.Error(errSyntax)
		return
	}
	var changes []Setting
	for i := 2; i < len(c.args); i += 2 {
		changes = append(changes, Setting{strings.ToLower(string(c.arg(i))), string(c.arg(i + 1))})
	}
	if err := c.server.host.ChangeSettings(changes); err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.OK()
}

func configResetStat(c *call) {
	c.server.resetStats()
	c.replies.OK()
}

// configRewrite always fails: settings come from flags and the environment, which nobody can write back.
func configRewrite(c *call) {
	c.replies.Error(errors.New("The server is running without a config file"))
}

func shutdown(c *call) {
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
	c.server.log.Info("a client asks for a shutdown", "client", c.addr())
	c.quit = true // without a reply, as in Redis
	how := ShutdownDefault
	switch save {
	case "SAVE":
		how = ShutdownSave
	case "NOSAVE":
		how = ShutdownNoSave
	}
	c.server.host.Shutdown(how)
}
