package main

import (
	"fmt"

	"github.com/duet-video/duet/internal/config"
	"github.com/duet-video/duet/recorder"
)

// data verifies a data directory.
func (c *verifyCmd) data(a *app) error {
	bar := newMeter(a, c.Level)
	report, err := recorder.VerifyData(a.ctx, recorder.DiskFS(), c.Data, c.Level, func(r *recorder.DataReport) { bar.at(r.Bytes, r.Total) })
	bar.end()
	if err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(a.stdout, report)
	} else {
		printData(a, report)
	}
	if err == nil && !report.OK() {
		err = errDiffers
	}
	return err
}

func printData(a *app, report *recorder.DataReport) {
	t := newTable("RECORDER", "LEVEL", ">FILES", ">CHECKED", ">FRAGMENTS", ">GOOD", ">MISMATCH", ">MISSING", ">DAMAGED BEFORE", ">NOT INDEXED", ">TORN BYTES")
	t.row(report.Recorder, report.Level, fmt.Sprint(report.Segments), config.Bytes(report.Bytes).String(), fmt.Sprint(report.Fragments),
		fmt.Sprint(report.Equal), fmt.Sprint(report.Mismatch), fmt.Sprint(report.Missing), fmt.Sprint(report.Damaged),
		fmt.Sprint(report.NotIndexed), fmt.Sprint(report.Torn))
	t.print(a.stdout)
	bad := make([]fmt.Stringer, len(report.Bad))
	for i := range report.Bad {
		bad[i] = &report.Bad[i]
	}
	printProblems(a.stdout, bad)
}
