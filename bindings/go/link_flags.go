//go:build kvcache_flags

package kvcache

// #cgo LDFLAGS: -lkvcache
import "C"
