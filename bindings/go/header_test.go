package kvcache

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const headerPath = "../../include/kvcache.h"

func header(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(headerPath)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sources is what the binding consists of, without its tests.
func sources(t *testing.T) string {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, path := range append(paths, "shim.h") {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// Every function of the header is called by the binding: from Go, or by the shim that Go calls.
func TestEveryFunctionIsBound(t *testing.T) {
	function := regexp.MustCompile(`(?m)^(?:kvc_status_t|uint32_t|const char \*) ?(kvc_\w+)\(`)
	declared := function.FindAllStringSubmatch(header(t), -1)
	if len(declared) < 70 {
		t.Fatalf("only %d functions were found in the header", len(declared))
	}
	text := sources(t)
	for _, match := range declared {
		called := regexp.MustCompile(`(C\.|[ =(])` + match[1] + `\(`)
		if !called.MatchString(text) {
			t.Errorf("%s is not bound", match[1])
		}
	}
	t.Logf("%d functions", len(declared))
}

// Every constant of the header has a name in Go.
func TestEveryConstantIsBound(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^#define (KVC_\w+) (\S+)`).FindAllStringSubmatch(header(t), -1)
	text := sources(t)
	count := 0
	for _, match := range declared {
		if strings.HasPrefix(match[2], "KVC_SIZED_(") || strings.HasSuffix(match[1], "_") {
			continue
		}
		count++
		if !regexp.MustCompile(`= C\.` + match[1] + `\b`).MatchString(text) {
			t.Errorf("%s is not bound", match[1])
		}
	}
	if count < 130 {
		t.Errorf("only %d constants were found in the header", count)
	}
}

// generated.go is what the generator makes of the header today.
func TestGeneratedIsCurrent(t *testing.T) {
	command := exec.Command("go", "run", "./internal/generate", headerPath)
	command.Stderr = os.Stderr
	want, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("generated.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("generated.go is stale: go run ./internal/generate %s > generated.go", headerPath)
	}
}

// Every field of the configuration has a place in Go: 8 bytes each, and two for a pair of pointer and count.
func TestEveryFieldOfConfigIsBound(t *testing.T) {
	text := header(t)
	body := text[strings.Index(text, "typedef struct kvc_config_t {"):]
	body = body[:strings.Index(body, "} kvc_config_t;")]
	source := sources(t)
	for _, match := range regexp.MustCompile(`(?m)^    [^/*\n][^;\n]*?(\w+);$`).FindAllStringSubmatch(body, -1) {
		if !regexp.MustCompile(`p\.` + match[1] + `\b`).MatchString(source) {
			t.Errorf("the field %s is not bound", match[1])
		}
	}
}
