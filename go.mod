module github.com/weftws/weft

go 1.26
