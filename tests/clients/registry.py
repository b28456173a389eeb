"""`python registry.py FOLDER`: writes, as static files, an npm registry and a Python index, each with one package."""

import base64
import hashlib
import io
import json
import os
import sys
import tarfile
import zipfile

folder = sys.argv[1]
NAME, MODULE, VERSION = "srt-fixture", "srt_fixture", "1.2.3"


def write(path, data):
    path = os.path.join(folder, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def npm():
    package = {"name": NAME, "version": VERSION, "main": "index.js", "license": "MIT"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in [
            ("package/package.json", json.dumps(package)),
            ("package/index.js", "module.exports = 'installed by npm';\n"),
        ]:
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    data = buffer.getvalue()
    write(f"npm/{NAME}.tgz", data)
    package["dist"] = {
        "tarball": f"@ORIGIN@/npm/{NAME}.tgz",
        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode(),
    }
    document = {"name": NAME, "dist-tags": {"latest": VERSION}, "versions": {VERSION: package}}
    write(f"npm/{NAME}.json", json.dumps(document).encode())


def python():
    # A wheel is an archive with a list of itself (PEP 427).
    wheel = f"{MODULE}-{VERSION}-py3-none-any.whl"
    info = f"{MODULE}-{VERSION}.dist-info"
    files = {
        f"{MODULE}.py": "SAYS = 'installed by pip'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: srt\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    data = buffer.getvalue()
    write(f"pypi/{NAME}/{wheel}", data)
    digest = hashlib.sha256(data).hexdigest()
    page = f'<!DOCTYPE html><a href="{wheel}#sha256={digest}">{wheel}</a>'
    write(f"pypi/{NAME}/index.html", page.encode())


npm()
python()
