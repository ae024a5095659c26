package main

import (
	"io/fs"
	"net/http"
	"os"
	"path"
)

// static serves what is in root and nothing else: neither what a link leads to
// outside of it, nor what is in a folder.
func static(root *os.Root) http.Handler {
	files := http.FileServerFS(pages{root.FS()})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store") // the next server has the same origin
		files.ServeHTTP(w, r)
	})
}

// pages has the folders only that have an index.html, which is shown in their place.
type pages struct{ fs.FS }

func (p pages) Open(name string) (fs.File, error) {
	f, err := p.FS.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		_, err = fs.Stat(p.FS, path.Join(name, "index.html"))
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
