// `node client.mjs MODULES HOW URL…`: asks for a URL by Node's fetch, http or http2, by undici, or says hello to a
// WebSocket.
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { createRequire } from 'node:module';
import tls from 'node:tls';

const [modules, how, ...urls] = process.argv.slice(2);
const [url] = urls;
const require = createRequire(modules + '/');

// What a stream of HTTP/2 answers; anything but 200 is an error.
async function read(stream) {
  const status = await new Promise((resolve, reject) => {
    stream.on('response', (headers) => resolve(headers[':status'])).on('error', reject);
  });
  let text = '';
  for await (const part of stream.setEncoding('utf8')) text += part;
  if (status !== 200) throw new Error(`${status}: ${text}`);
  return text;
}

// Asks a proxy that speaks HTTP/2: for what is in plain text itself, and for the rest by a tunnel, in which HTTP/2 goes on.
async function byStream(proxy, url) {
  const { protocol, host, hostname, pathname } = new URL(url);
  if (protocol === 'http:') {
    return read(proxy.request({ ':scheme': 'http', ':authority': host, ':path': pathname }));
  }
  const tunnel = proxy.request({ ':method': 'CONNECT', ':authority': host }, { endStream: false });
  const status = await new Promise((resolve, reject) => {
    tunnel.on('response', (headers) => resolve(headers[':status'])).on('error', reject);
  });
  if (status !== 200) throw new Error(`CONNECT: ${status}`);
  const socket = tls.connect({ socket: tunnel, servername: hostname, ALPNProtocols: ['h2'] });
  const inner = http2.connect(url, { createConnection: () => socket });
  try {
    return await read(inner.request({ ':path': pathname }));
  } finally {
    inner.close();
  }
}

const ways = {
  fetch: async () => (await fetch(url)).text(),
  http: () =>
    new Promise((resolve, reject) => {
      (url.startsWith('https:') ? https : http)
        .get(url, (response) => {
          let text = '';
          response.on('data', (part) => (text += part)).on('end', () => resolve(text));
        })
        .on('error', reject);
    }),
  // Eight times each URL in one connection to the proxy, all at once; where there is no proxy, once by itself. A line for
  // each answer.
  http2: async () => {
    if (!process.env.HTTP_PROXY) return ways.http();
    const proxy = http2.connect(process.env.HTTP_PROXY);
    const all = urls.flatMap((url) => Array(8).fill(url)).map((url) => byStream(proxy, url));
    const answers = await Promise.allSettled(all);
    proxy.close();
    process.exitCode = answers.some(({ status }) => status === 'rejected') ? 1 : 0;
    return answers.map(({ value, reason }) => JSON.stringify(value ?? String(reason))).join('\n');
  },
  undici: async () => (await require('undici').request(url)).body.text(),
  // As a program does that honours the variables for proxies.
  'undici-proxy': async () => {
    const { EnvHttpProxyAgent, request } = require('undici');
    const { statusCode, body } = await request(url, { dispatcher: new EnvHttpProxyAgent() });
    const text = await body.text();
    if (statusCode !== 200) throw new Error(`${statusCode}: ${text}`);
    return text;
  },
  ws: () =>
    new Promise((resolve, reject) => {
      const socket = new (require('ws'))(url);
      socket.on('open', () => socket.send('hello')).on('error', reject);
      socket.on('message', (text) => {
        socket.close();
        resolve(text.toString());
      });
    }),
};

try {
  console.log(await ways[how]());
} catch (error) {
  console.error(String(error), String(error.cause ?? ''));
  process.exit(1);
}
