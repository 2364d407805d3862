package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"roomtape": main})
}

// TestScripts runs the scripts of testdata/script, each a session of somebody at
// a shell.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Values[processesKey{}] = map[string]*process{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  cmdExits,
			"start":  cmdStart,
			"signal": cmdSignal,
			"ends":   cmdEnds,
			"await":  cmdAwait,
			"serve":  cmdServe,
			"people": cmdPeople,
			"json":   cmdJSON,
			"cut":    cmdCut,
		},
	})
}
