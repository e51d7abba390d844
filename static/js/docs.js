// The API to read and try, with the reader's session and so with its token.

const place = document.getElementById("document");

SwaggerUIBundle({
	url: place.dataset.schema,
	domNode: place,
	deepLinking: true,
	displayRequestDuration: true,
	requestInterceptor: (request) => {
		if (request.method !== "GET") request.headers["X-CSRFToken"] = place.dataset.token;
		return request;
	},
});
