package main

type verifyCmd struct{}

func (*verifyCmd) Run(a *app) error { return nil }
