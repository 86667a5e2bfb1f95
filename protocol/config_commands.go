package protocol

import "errors"

func configGet(c *call, host Host) { c.showSettings(host.Settings(), 2) }

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

// configRewrite always fails: settings come from flags and the environment, which cannot be written.
func configRewrite(c *call) {
	c.replies.Error(errors.New("The server is running without a config file"))
}

func shutdown(c *call, x *conn) {
	save, now := "", false
	for i := 1; i < len(c.args); i++ {
		switch option := c.option(i); {
		case option == "ABORT" && len(c.args) == 2:
			c.replies.Error(errors.New("No shutdown in progress."))
			return
		case option == "NOW", option == "FORCE":
			now = true
		case (option == "SAVE" || option == "NOSAVE") && (save == "" || save == option):
			save = option
		default:
			c.replies.Error(errSyntax)
			return
		}
	}
	x.server.log.Info("client requested a shutdown", "client", x.origin.address(), "name", x.identity.Load().name)
	c.close = true // without a reply, as in Redis
	how := ShutdownDefault
	switch save {
	case "SAVE":
		how = ShutdownSave
	case "NOSAVE":
		how = ShutdownNoSave
	}
	if now {
		how |= ShutdownNow
	}
	x.server.host.Shutdown(how)
}
