package ndctl

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// prompt asks the user for confirmation.
type prompt struct {
	in  io.Reader
	err io.Writer // where the question is shown: standard output may go to a file
}

// yesFlag adds --yes to a command that asks for confirmation.
func yesFlag(c *cobra.Command) *bool {
	return c.Flags().BoolP("yes", "y", false, "do not ask for confirmation; for scripts")
}

// confirm asks whether to continue. Without a terminal, only --yes confirms.
func (p *prompt) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !isTerminal(p.in) {
		return usageError("%s\nThere is no terminal to confirm this at: give --yes to go ahead", question)
	}
	return p.ask(question)
}

// ask asks a question. Only yes confirms.
func (p *prompt) ask(question string) error {
	fmt.Fprintf(p.err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(p.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("cancelled: nothing was changed")
}
