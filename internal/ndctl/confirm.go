package ndctl

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// yesFlag adds --yes to a command that asks first.
func yesFlag(c *cobra.Command) *bool {
	return c.Flags().BoolP("yes", "y", false, "do not ask; for scripts")
}

// confirm asks whether to go on. Where nobody can be asked, --yes has to be there.
func (a *app) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !terminal(a.in) {
		return usageError("%s\nThere is no terminal to ask at: give --yes if that is what you want", question)
	}
	return a.ask(question)
}

// ask puts a question and takes nothing but yes for a yes.
func (a *app) ask(question string) error {
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was done")
}
