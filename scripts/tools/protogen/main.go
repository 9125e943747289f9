// Command protogen compiles the .proto files of a directory and hands them to
// protoc-gen-go and protoc-gen-go-grpc, as protoc would, with every tool pinned
// by this module's go.mod. Usage: protogen PROTO_DIR OUT_DIR
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: protogen PROTO_DIR OUT_DIR")
		os.Exit(2)
	}
	if err := generate(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func generate(protoDir, outDir string) error {
	request, err := compile(protoDir)
	if err != nil {
		return err
	}
	for plugin, parameter := range map[string]string{
		"protoc-gen-go":      "paths=source_relative",
		"protoc-gen-go-grpc": "paths=source_relative,require_unimplemented_servers=true",
	} {
		request.Parameter = proto.String(parameter)
		if err := run(plugin, request, outDir); err != nil {
			return fmt.Errorf("%s: %w", plugin, err)
		}
	}
	return nil
}

// compile parses every .proto file in dir, in dependency order, as a plugin
// expects them.
func compile(dir string) (*pluginpb.CodeGeneratorRequest, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.proto"))
	if err != nil {
		return nil, err
	}
	names := make([]string, len(paths))
	for i, path := range paths {
		names[i] = filepath.Base(path)
	}
	compiler := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{ImportPaths: []string{dir}},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(context.Background(), names...)
	if err != nil {
		return nil, err
	}
	request := &pluginpb.CodeGeneratorRequest{FileToGenerate: names}
	byName := make(map[string]*descriptorpb.FileDescriptorProto, len(files))
	for _, file := range files {
		byName[file.Path()] = protoutil.ProtoFromFileDescriptor(file)
	}
	added := make(map[string]bool)
	var add func(name string)
	add = func(name string) {
		if added[name] {
			return
		}
		added[name] = true
		for _, dependency := range byName[name].GetDependency() {
			add(dependency)
		}
		request.ProtoFile = append(request.ProtoFile, byName[name])
	}
	for _, name := range names {
		add(name)
	}
	return request, nil
}

func run(plugin string, request *pluginpb.CodeGeneratorRequest, outDir string) error {
	in, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	command := exec.Command("go", "tool", plugin)
	command.Stdin, command.Stderr = bytes.NewReader(in), os.Stderr
	out, err := command.Output()
	if err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &response); err != nil {
		return err
	}
	if response.Error != nil {
		return errors.New(response.GetError())
	}
	for _, file := range response.File {
		if err := os.WriteFile(filepath.Join(outDir, file.GetName()), []byte(file.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
