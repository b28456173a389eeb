// `node proxy.mjs FOLDER PORT`: an HTTP proxy to which one speaks by TLS, as ada with the password s@crt. FOLDER has
// cert.pem and key.pem, and gets `proxied`, a line for each request that is carried on. Prints "ready"; ends when its stdin
// does.
import { appendFileSync, readFileSync } from 'node:fs';
import { request as ask } from 'node:http';
import { createServer } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';

const [folder, port] = process.argv.slice(2);
const proxied = join(folder, 'proxied');
const right = 'Basic ' + Buffer.from('ada:s@crt').toString('base64');
const isKnown = (request) => request.headers['proxy-authorization'] === right;
appendFileSync(proxied, '');

const server = createServer({
  cert: readFileSync(join(folder, 'cert.pem')),
  key: readFileSync(join(folder, 'key.pem')),
});
server.on('connect', (request, near, head) => {
  if (!isKnown(request)) {
    near.end('HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n');
    return;
  }
  appendFileSync(proxied, `CONNECT ${request.url}\n`);
  const [host, port] = request.url.split(':');
  const far = connect({ host, port, allowHalfOpen: true }, () => {
    near.write('HTTP/1.1 200 OK\r\n\r\n');
    far.write(head);
    near.pipe(far).pipe(near);
  });
  far.on('error', () => near.destroy());
  near.on('error', () => far.destroy());
});
server.on('request', (request, response) => {
  if (!isKnown(request)) {
    response.writeHead(407, { 'proxy-authenticate': 'Basic' }).end();
    return;
  }
  appendFileSync(proxied, `${request.method} ${request.url}\n`);
  const { 'proxy-authorization': _, ...headers } = request.headers;
  const far = ask(request.url, { method: request.method, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  far.on('error', () => response.destroy());
  request.pipe(far);
});
server.listen({ port, host: '0.0.0.0' }, () => console.log('ready'));
process.stdin.on('end', () => process.exit()).resume();
