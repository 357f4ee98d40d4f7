package faults

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var from = flag.String("faults.from", "", "write the table of docs/FAULTS.md anew, of the results in this directory")

var document = filepath.Join("..", "..", "docs", "FAULTS.md")

// TestEveryFaultHasARowAndEveryRowIsAFault: the table cannot drift from the list. With
// -faults.from it is written first.
func TestEveryFaultHasARowAndEveryRowIsAFault(t *testing.T) {
	b, err := os.ReadFile(document)
	require.NoError(t, err)
	if *from != "" {
		results, err := Load(*from)
		require.NoError(t, err)
		text, err := Replace(string(b), Table(results))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(document, []byte(text), 0o600)) // it keeps its mode
		b = []byte(text)
	}
	rows, err := Rows(string(b))
	require.NoError(t, err)
	var want []Fault
	for _, f := range Catalogue() {
		want = append(want, Fault{Name: f.Name, Test: f.Test})
	}
	require.Equal(t, want, rows, "`make faults` writes the table anew")
}

func TestFaultsHaveNamesOfTheirOwnAndTestsThatMakeThem(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Catalogue() {
		require.Regexp(t, "^[a-z0-9-]+$", f.ID)
		require.NotContains(t, f.Name, "|")
		require.False(t, seen[f.ID] || seen[f.Name], f.ID)
		seen[f.ID], seen[f.Name] = true, true
	}
	// Each test names the faults that are said to be its own; Save refuses all others.
	bodies := map[string]string{}
	tests, err := filepath.Glob(filepath.Join("..", "e2e", "*_test.go"))
	require.NoError(t, err)
	for _, name := range tests {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		for part := range strings.SplitSeq("\n"+string(b), "\nfunc ") {
			test, body, _ := strings.Cut(part, "(")
			bodies[test] = body
		}
	}
	for _, f := range Catalogue() {
		require.Contains(t, bodies[f.Test], strconv.Quote(f.ID), "%s does not make %s", f.Test, f.ID)
	}
}

func TestTableSaysWhatWasMeasuredAndIsFoundAgain(t *testing.T) {
	var results []Result
	for _, f := range Catalogue() {
		results = append(results, Result{Fault: f.ID, Twice: -1, Complete: -1})
	}
	r := &results[0]
	r.Signs = []Sign{
		{From: "r1", Code: "disk_full", Text: "no room | left", After: 1300 * time.Millisecond},
		{From: "p1", Code: "copy_missing", After: 6 * time.Second},
	}
	r.Live, r.Record, r.Playback, r.Export = "all", "once", "complete", "whole"
	r.Twice, r.AfterHeal, r.Complete = 2*time.Second, true, 4*time.Second
	r.MemoryBefore, r.MemoryMost = 30_000_000, 41_600_000
	text, err := Replace("before\n"+Begin+"\nold\n"+End+"\nafter\n", Table(results))
	require.NoError(t, err)
	require.Contains(t, text, "| r1 `disk_full`: no room / left; p1 `copy_missing` after 6.0 s | 1.3 s | all | once | complete | whole | 2.0 s after its end | 4.0 s after its end | 30 MB → 42 MB | `"+Catalogue()[0].Test+"` |\n")
	require.NotContains(t, text, "old")
	require.Regexp(t, "(?s)^before\n.*after\n$", text)
	rows, err := Rows(text)
	require.NoError(t, err)
	require.Len(t, rows, len(Catalogue()))

	again, err := Replace(text, Table(results))
	require.NoError(t, err)
	require.Equal(t, text, again)
	_, err = Replace("no table", "")
	require.Error(t, err)
}

func TestResultsAreSavedAndLoaded(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(Dir, dir)
	require.Error(t, Save(&Result{Fault: "unheard-of"}))
	_, err := Load(dir)
	require.ErrorContains(t, err, Catalogue()[0].ID)
	for _, f := range Catalogue() {
		require.NoError(t, Save(&Result{Fault: f.ID, Live: "all"}))
	}
	all, err := Load(dir)
	require.NoError(t, err)
	require.Len(t, all, len(Catalogue()))
	require.Equal(t, "all", all[3].Live)
	require.Positive(t, all[3].Machine.Cores)
}
