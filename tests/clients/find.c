/* `find HOST PORT TIMES`: looks a name up, connects to it and asks for / by HTTP, so many times; shows the last answer.
 * Ends with 1 if any of it failed. For the C library that it is compiled with. */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int once(const char *host, const char *port, char *answer, size_t room) {
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	int error = getaddrinfo(host, port, &hints, &found);
	if (error) {
		snprintf(answer, room, "getaddrinfo: %s", gai_strerror(error));
		return 1;
	}
	int stream = socket(found->ai_family, SOCK_STREAM, 0);
	if (connect(stream, found->ai_addr, found->ai_addrlen)) {
		snprintf(answer, room, "cannot connect");
		return 1;
	}
	freeaddrinfo(found);
	char request[512];
	int length = snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n\r\n", host, port);
	if (write(stream, request, length) != length)
		return 1;
	size_t had = 0;
	for (ssize_t more; had < room - 1 && (more = read(stream, answer + had, room - 1 - had)) > 0; had += more)
		;
	answer[had] = 0;
	close(stream);
	return strncmp(answer, "HTTP/1.1 200", 12) != 0;
}

int main(int count, char **words) {
	if (count != 4)
		return 2;
	char answer[4096] = "";
	int failed = 0;
	for (int times = atoi(words[3]); times > 0; times--)
		failed |= once(words[1], words[2], answer, sizeof answer);
	puts(answer);
	return failed;
}
