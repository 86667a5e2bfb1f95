package protocol

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	c.replySettings(c.server.host.Settings(), 2)
}

// replySettings answers with those settings that match a pattern, the first of which is an argument of the command.
func (c *call) replySettings(all []Setting, first int) {
	var found []Setting
	for _, setting := range all {
		for i := first; i < len(c.args); i++ {
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
	if err := c.server.host.ChangeSettings(c.settings(2)); err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.OK()
}

// settings returns pairs of arguments.
func (c *call) settings(first int) (all []Setting) {
	for i := first; i+1 < len(c.args); i += 2 {
		all = append(all, Setting{strings.ToLower(string(c.arg(i))), string(c.arg(i + 1))})
	}
	return all
}

// clusterConfig is CONFIG for all nodes.
func clusterConfig(c *call) {
	switch option := c.option(2); {
	case option == "GET":
		var all []Setting
		for name, set := range c.server.cluster.Topology().Settings {
			all = append(all, Setting{name, set.Value})
		}
		slices.SortFunc(all, func(a, b Setting) int { return strings.Compare(a.Name, b.Name) })
		c.replySettings(all, 3)
	case option == "SET" && len(c.args)%2 == 1:
		set := c.settings(3)
		c.decide(func(ctx context.Context) error { return c.server.cluster.Configure(ctx, set, nil) })
	case option == "RESET":
		var names []string
		for i := 3; i < len(c.args); i++ {
			names = append(names, strings.ToLower(string(c.arg(i))))
		}
		c.decide(func(ctx context.Context) error { return c.server.cluster.Configure(ctx, nil, names) })
	default:
		c.replies.Error(errSyntax)
	}
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
