// `node site.mjs FOLDER MODULES ADDRESS…`: a site of the tests at every address, http at 8080 and https at 8443, HTTP/2
// where it is asked for. FOLDER has cert.pem, key.pem and what is served: files below www, repositories below git. A
// WebSocket at any path says back what it hears. Prints "ready", then each request's host and path; ends when its
// stdin does.
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createSecureServer } from 'node:http2';
import { createRequire } from 'node:module';
import { join, normalize } from 'node:path';

const [folder, modules, ...addresses] = process.argv.slice(2);
const { WebSocketServer } = createRequire(modules + '/')('ws');
const TYPES = { '.html': 'text/html', '.json': 'application/json' };

async function answer(request, response) {
  const host = request.headers.host ?? request.headers[':authority'];
  const origin = `${request.socket.encrypted ? 'https' : 'http'}://${host}`;
  const url = new URL(request.url, origin);
  console.log(`${host} ${url.pathname}`);
  if (url.pathname === '/') {
    response.end(`hello from ${url.hostname} by HTTP/${request.httpVersion}\n`);
  } else if (url.pathname === '/elsewhere') {
    response.writeHead(302, { location: url.searchParams.get('to') }).end();
  } else if (url.pathname.startsWith('/git/')) {
    git(request, response, url);
  } else {
    const wanted = normalize(decodeURIComponent(url.pathname)).replace(/\/$/, '/index.html');
    // npm asks for what describes a package by its bare name.
    const path = join(folder, 'www', /^\/npm\/[^./]+$/.test(wanted) ? wanted + '.json' : wanted);
    try {
      let body = await readFile(path);
      const type = TYPES[path.slice(path.lastIndexOf('.'))];
      if (type) {
        // What names its own place.
        body = body.toString().replaceAll('@ORIGIN@', origin);
      }
      response.writeHead(200, { 'content-type': type ?? 'application/octet-stream' }).end(body);
    } catch {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('there is nothing here\n');
    }
  }
}

// Git's own CGI (git-http-backend(1)).
function git(request, response, url) {
  const child = spawn('git', ['http-backend'], {
    env: {
      PATH: process.env.PATH,
      GIT_PROJECT_ROOT: join(folder, 'git'),
      GIT_HTTP_EXPORT_ALL: '1',
      PATH_INFO: url.pathname.slice('/git'.length),
      QUERY_STRING: url.search.slice(1),
      REQUEST_METHOD: request.method,
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
      HTTP_GIT_PROTOCOL: request.headers['git-protocol'] ?? '',
      // Whoever it is may push.
      REMOTE_USER: 'somebody',
    },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  request.pipe(child.stdin);
  let head = Buffer.alloc(0);
  const begin = (part) => {
    head = Buffer.concat([head, part]);
    const end = head.indexOf('\r\n\r\n');
    if (end < 0) return;
    child.stdout.off('data', begin);
    let status = 200;
    for (const line of head.subarray(0, end).toString().split('\r\n')) {
      const [name, value] = line.split(/: */, 2);
      if (name === 'Status') status = parseInt(value, 10);
      else response.setHeader(name, value);
    }
    response.writeHead(status);
    response.write(head.subarray(end + 4));
    child.stdout.pipe(response);
  };
  child.stdout.on('data', begin);
}

const sockets = new WebSocketServer({ noServer: true });
function upgrade(request, socket, head) {
  sockets.handleUpgrade(request, socket, head, (ws) => {
    ws.on('message', (text) => ws.send(`${request.headers.host} heard ${text}`));
  });
}

const tls = {
  cert: readFileSync(join(folder, 'cert.pem')),
  key: readFileSync(join(folder, 'key.pem')),
  allowHTTP1: true,
};
const listening = [];
for (const address of addresses) {
  for (const [server, port] of [
    [createServer(), 8080],
    [createSecureServer(tls), 8443],
  ]) {
    server.on('request', answer).on('upgrade', upgrade);
    listening.push(new Promise((done) => server.listen({ port, host: address, ipv6Only: true, backlog: 4096 }, done)));
  }
}
await Promise.all(listening);
console.log('ready');
process.stdin.on('end', () => process.exit()).resume();
