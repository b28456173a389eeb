// A web API over TLS at port 443 of an address: node api.mjs ADDRESS CERTIFICATE KEY. It answers like those of GitHub and
// GitLab to a search that finds nothing, and says "ready" when it can. It ends with its stdin.
import { createServer } from 'node:https';
import { readFileSync } from 'node:fs';

const [address, certificate, key] = process.argv.slice(2);
const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, (request, response) => {
  const { pathname } = new URL(request.url, 'https://api');
  const answers = {
    '/search/repositories': { total_count: 0, incomplete_results: false, items: [] },
    '/api/v4/projects': [],
  };
  const answer = answers[pathname];
  response.writeHead(answer ? 200 : 404, { 'content-type': 'application/json', 'x-total': '0' });
  response.end(JSON.stringify(answer ?? { message: 'Not Found' }));
});
server.listen(443, address, () => console.log('ready'));
process.stdin.on('end', () => process.exit()).resume();
