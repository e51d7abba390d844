// The API to read and try. Requests go out with the reader's session, so they need its token.

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
