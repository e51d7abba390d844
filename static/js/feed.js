// The connection, honestly: one socket, a snapshot after every doubt, a word for each way to lose it.

const STALE = 15;
const LAGGING = 2; // the server's heart beats each second
const GIVE_UP = 40; // a silent socket is replaced
const POLL_AFTER = 60;
const POLL_EVERY = 10;
const SIGNED_OUT = 4401;
const now = () => Date.now();

export class Feed {
	/** `on`: snapshot, update, event get their message; moved: the state may have changed. */
	constructor(path, on) {
		this.url = new URL(path, location).href.replace("http", "ws");
		this.on = on;
		this.synced = this.signedOut = false;
		this.polled = this.attempts = this.nextTry = this.serverTime = this.asked = 0;
		this.lostAt = now();
		addEventListener("online", () => this.reconnect());
	}

	/** Seconds between what is shown and now. */
	get behind() {
		return this.serverTime ? Math.max(0, (this.time - this.serverTime) / 1000) : 0;
	}

	/** No socket gets through: the page asks instead. */
	get cutOff() {
		return !this.synced && now() - this.lostAt > 1000 * POLL_AFTER;
	}

	/** Now by the server's clock. */
	get time() {
		return now() - (this.offset ?? 0); // our clock minus the server's
	}

	get state() {
		if (this.signedOut) return "signed_out";
		if (this.synced) return this.behind > STALE ? "stale" : this.behind > LAGGING ? "lagging" : "live";
		if (!navigator.onLine) return "offline";
		if (this.polled && now() - this.polled < 3000 * POLL_EVERY) return "polling";
		return this.serverTime || this.attempts ? "reconnecting" : "connecting";
	}

	/** What is shown may be taken for what is. */
	get sure() {
		return ["connecting", "live", "lagging", "polling"].includes(this.state);
	}

	open() {
		clearTimeout(this.timer);
		let opened = false;
		const socket = new WebSocket(this.url);
		this.socket = socket;
		socket.onopen = () => (opened = true);
		socket.onmessage = (message) => this.socket === socket && this.take(JSON.parse(message.data));
		socket.onclose = (close) => {
			if (this.socket !== socket) return;
			this.lose();
			this.signedOut = close.code === SIGNED_OUT;
			if (!opened) this.ask();
			if (!this.signedOut) {
				const wait = 500 + Math.random() * (Math.min(15000, 1000 * 2 ** this.attempts++) - 500);
				this.nextTry = now() + wait;
				this.timer = setTimeout(() => this.open(), wait);
			}
			this.on.moved();
		};
	}

	lose() {
		if (this.synced) this.lostAt = now();
		this.synced = false;
	}

	reconnect() {
		if (this.state === "live") return;
		const old = this.socket;
		this.lose();
		this.signedOut = false;
		this.open();
		old?.close();
		this.on.moved();
	}

	take(message) {
		if (message.server_time) {
			this.without = message.without;
			this.serverTime = Date.parse(message.server_time);
			this.offset = Math.min(this.offset ?? Infinity, now() - this.serverTime);
		}
		const { type } = message;
		if (type === "snapshot") {
			this.synced = true;
			this.polled = this.attempts = 0;
		}
		if (this.synced || type === "event") this.on[type]?.(message);
		if (type === "snapshot" || document.hidden) this.on.moved(); // a hidden page's clock may sleep
	}

	tick() {
		if (this.synced && this.behind > GIVE_UP) this.reconnect();
		const due = now() - this.asked >= 1000 * POLL_EVERY;
		if (this.cutOff && !this.signedOut && due) this.ask();
		this.on.moved();
	}

	/** Over HTTP: are we still welcome, and what is there. */
	async ask() {
		if (!navigator.onLine) return;
		this.asked = now();
		try {
			const answer = await fetch("/dashboard", { headers: { Accept: "application/json" }, cache: "no-store" });
			this.signedOut = answer.status === 401 || answer.status === 403;
			if (this.signedOut) clearTimeout(this.timer);
			if (!answer.ok || !this.cutOff) return;
			const { breakers, summary } = await answer.json();
			this.polled = now();
			this.serverTime = this.time;
			this.on.snapshot?.({ rows: breakers, summary });
		} catch {
			// the state says so
		} finally {
			this.on.moved();
		}
	}
}
