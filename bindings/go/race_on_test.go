//go:build race

package kvcache

// raceEnabled: the race detector keeps records of its own for memory that was touched, so that memory grows.
const raceEnabled = true
