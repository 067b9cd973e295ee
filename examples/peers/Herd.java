import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.StringTokenizer;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * A server of a herd, with a virtual thread for each connection: java Herd CONFIG NAME
 *
 * <p>Text is held as Latin-1 strings: one byte in memory for each byte that a client sends. The
 * answers to the lines that arrived together leave in one write, and so do the reports that
 * arrive while a neighbour takes earlier ones.
 */
final class Herd {
    static final int MAX_LINE = 4096;
    static final int MAX_CLIENT = 255;
    static final int MAX_NUMBER = 32;
    static final int MAX_FRACTION = 18;
    static final long NANOS = 1_000_000_000L;
    static final long MAX_FUTURE = 86_400 * NANOS;
    static final long MAX_AHEAD = 10 * NANOS;
    static final int MIN_RETRY_MS = 50;
    static final int MAX_RETRY_MS = 1000;
    static final String WHITE_SPACE = " \t\r\n\013\f";
    static final byte[] NO_PLACES = """
        {
           "html_attributions" : [],
           "results" : [],
           "status" : "ZERO_RESULTS"
        }

        """.getBytes(ISO_8859_1);

    final String name;
    final ConcurrentHashMap<String, Report> reports = new ConcurrentHashMap<>();
    final List<Link> links = new ArrayList<>();

    Herd(String name) {
        this.name = name;
    }

    /** The newest report of a client: its order time, and its AT line with the line end. */
    record Report(long order, byte[] line) {
        boolean beats(Report held) {
            if (order != held.order || Arrays.equals(line, held.line)) {
                return order > held.order;
            }
            return TieBreak.of(line).compareTo(TieBreak.of(held.line)) > 0;
        }
    }

    /** The keys that decide between two reports of one order time. */
    record TieBreak(long sent, String origin, String position, long skew, String time)
            implements Comparable<TieBreak> {
        private static final Comparator<TieBreak> ORDER = Comparator.comparingLong(TieBreak::sent)
            .thenComparing(TieBreak::origin)
            .thenComparing(TieBreak::position)
            .thenComparing(Comparator.comparingLong(TieBreak::skew).reversed())
            .thenComparing(TieBreak::time);

        static TieBreak of(byte[] line) {
            var fields = new String(line, ISO_8859_1).stripTrailing().split(" ");
            var time = fields[5];
            long skew = parseSkew(fields[2]);
            return new TieBreak(nanoseconds(time), fields[1], fields[4], skew, time);
        }

        @Override
        public int compareTo(TieBreak other) {
            return ORDER.compare(this, other);
        }
    }

    /** Returns the answer to a line of a client, which has no line end. */
    void answer(String line, ByteArrayOutputStream answers) {
        if (line.length() > MAX_LINE) {
            line = line.substring(0, MAX_LINE);
        } else {
            var fields = new StringTokenizer(line, WHITE_SPACE);
            if (fields.countTokens() == 4) {
                var command = fields.nextToken();
                if (command.equals("IAMAT")) {
                    var client = fields.nextToken();
                    var report = iamat(client, fields.nextToken(), fields.nextToken());
                    if (report != null) {
                        merge(client, report, null);
                        answers.writeBytes(report.line);
                        return;
                    }
                } else if (command.equals("WHATSAT")) {
                    var report = reports.get(fields.nextToken());
                    if (report != null && isAtMost(fields.nextToken(), 50)
                            && isWholeAtMost(fields.nextToken(), 20)) {
                        answers.writeBytes(report.line);
                        answers.writeBytes(NO_PLACES);
                        return;
                    }
                }
            }
        }
        answers.writeBytes(("? " + line + "\n").getBytes(ISO_8859_1));
    }

    private Report iamat(String client, String position, String time) {
        var clock = Instant.now();
        long now = clock.getEpochSecond() * NANOS + clock.getNano();
        if (client.length() > MAX_CLIENT || !isUtf8(client) || !isPosition(position)
                || !isTime(time, (now + MAX_FUTURE) / NANOS + 1)) {
            return null;
        }
        long sent = nanoseconds(time);
        if (sent > now + MAX_FUTURE) {
            return null;
        }
        long skew = now - sent;
        var at = new StringBuilder(128).append("AT ").append(name);
        at.append(skew < 0 ? " -" : " +").append(Math.abs(skew) / NANOS).append('.');
        var fraction = Long.toString(Math.abs(skew) % NANOS);
        at.repeat('0', 9 - fraction.length()).append(fraction);
        at.append(' ').append(client).append(' ').append(position).append(' ').append(time);
        var line = at.append('\n').toString().getBytes(ISO_8859_1);
        return new Report(orderTime(sent, skew), line);
    }

    /** Keeps a report that is newer than the one held, and passes it on. */
    void merge(String client, Report report, String sender) {
        while (true) {
            var held = reports.putIfAbsent(client, report);
            if (held != null && !report.beats(held)) {
                return;
            }
            if (held == null || reports.replace(client, held, report)) {
                break;
            }
        }
        for (var link : links) {
            if (!link.name.equals(sender)) {
                link.push(client, report);
            }
        }
    }

    /** Returns the time by which reports are ordered: at most 10 s after they were received. */
    static long orderTime(long sent, long skew) {
        return sent + Math.min(0, skew + MAX_AHEAD);
    }

    static long nanoseconds(String time) {
        int point = time.indexOf('.');
        long seconds = Long.parseLong(time, 0, point < 0 ? time.length() : point, 10);
        long nanos = 0;
        for (int digit = 1; digit <= 9; digit++) {
            int i = point + digit;
            nanos = 10 * nanos + (point >= 0 && i < time.length() ? time.charAt(i) - '0' : 0);
        }
        return seconds * NANOS + nanos;
    }

    static long parseSkew(String text) {
        long skew = nanoseconds(text.substring(1));
        return text.charAt(0) == '-' ? -skew : skew;
    }

    private static boolean isUtf8(String latin1) {
        if (latin1.chars().allMatch(c -> c < 0x80)) {
            return true;
        }
        try {
            UTF_8.newDecoder().decode(ByteBuffer.wrap(latin1.getBytes(ISO_8859_1)));
            return true;
        } catch (CharacterCodingException e) {
            return false;
        }
    }

    private static boolean isPosition(String text) {
        int end = text.endsWith("/") ? text.length() - 1 : text.length();
        int second = 1;
        while (second < end && !isSign(text.charAt(second))) {
            second++;
        }
        return second < end
            && isCoordinate(text.substring(0, second), 90)
            && isCoordinate(text.substring(second, end), 180);
    }

    private static boolean isCoordinate(String text, int bound) {
        return text.length() <= MAX_NUMBER && isSign(text.charAt(0))
            && isAtMost(text.substring(1), bound);
    }

    private static boolean isSign(char c) {
        return c == '+' || c == '-';
    }

    private static boolean isTime(String text, long bound) {
        int point = text.indexOf('.');
        int fraction = point < 0 ? 0 : text.length() - point - 1;
        return text.length() <= MAX_NUMBER && fraction <= MAX_FRACTION
            && isAtMost(text, bound);
    }

    private static boolean isWholeAtMost(String text, int bound) {
        return text.indexOf('.') < 0 && isAtMost(text, bound);
    }

    /** Returns true for digits with at most one inner point, compared exactly. */
    private static boolean isAtMost(String text, long bound) {
        int i = 0;
        long whole = 0;
        for (; i < text.length() && isDigit(text.charAt(i)); i++) {
            // It stays above the bound once it is.
            whole = whole > bound ? whole : 10 * whole + text.charAt(i) - '0';
        }
        if (i == 0) {
            return false;
        }
        if (i == text.length()) {
            return whole <= bound;
        }
        if (text.charAt(i) != '.' || ++i == text.length()) {
            return false;
        }
        boolean isZero = true;
        for (; i < text.length(); i++) {
            if (!isDigit(text.charAt(i))) {
                return false;
            }
            isZero &= text.charAt(i) == '0';
        }
        return whole < bound || whole == bound && isZero;
    }

    private static boolean isDigit(char c) {
        return c >= '0' && c <= '9';
    }

    /** Reads lines. Of a line that is too long it returns the limit, a CR and a byte. */
    static final class Lines {
        private final InputStream in;
        private final byte[] buffer = new byte[2 * MAX_LINE];
        private int start;
        private int end;
        /** The number of bytes in the buffer that hold no LF. */
        private int searched;
        private boolean isEnded;

        Lines(InputStream in) {
            this.in = in;
        }

        /** Returns the next line without LF, or null at the end. */
        String next() throws IOException {
            boolean isSkipping = false;
            while (true) {
                while (start + searched < end) {
                    if (buffer[start + searched++] == '\n') {
                        return take(searched, 1, isSkipping);
                    }
                }
                if (isEnded) {
                    return end > start ? take(searched, 0, isSkipping) : null;
                }
                if (searched > MAX_LINE + 2) {
                    // The beginning stays, and what follows is dropped.
                    isSkipping = true;
                    searched = MAX_LINE + 2;
                    end = start + searched;
                }
                fill();
            }
        }

        private String take(int length, int lineEnd, boolean isSkipping) {
            int counted = Math.min(length - lineEnd, MAX_LINE + 2);
            boolean hasCr = lineEnd > 0 && !isSkipping && counted > 0
                && buffer[start + counted - 1] == '\r';
            var line = new String(buffer, start, hasCr ? counted - 1 : counted, ISO_8859_1);
            start += length;
            searched = 0;
            return line;
        }

        private void fill() throws IOException {
            if (start > 0) {
                System.arraycopy(buffer, start, buffer, 0, end - start);
                end -= start;
                start = 0;
            }
            int count = in.read(buffer, end, buffer.length - end);
            isEnded = count < 0;
            end += Math.max(count, 0);
        }

        /** Returns true if the next line can be returned without waiting. */
        boolean isReady() {
            while (start + searched < end && buffer[start + searched] != '\n') {
                searched++;
            }
            return start + searched < end;
        }
    }

    /** Serves a connection of a client. */
    void serveClient(Socket socket) throws IOException {
        var lines = new Lines(socket.getInputStream());
        var out = socket.getOutputStream();
        var answers = new ByteArrayOutputStream(256);
        String line;
        while ((line = lines.next()) != null) {
            answer(line, answers);
            if (!lines.isReady()) {
                answers.writeTo(out);
                answers.reset();
            }
        }
    }

    /** Serves a connection on which a neighbour sends its name and then AT lines. */
    void serveNeighbour(Socket socket) throws IOException {
        var lines = new Lines(socket.getInputStream());
        var sender = lines.next();
        String line;
        while ((line = lines.next()) != null) {
            var fields = new StringTokenizer(line, " ");
            fields.nextToken();
            fields.nextToken();
            var skew = fields.nextToken();
            var client = fields.nextToken();
            fields.nextToken();
            long sent = nanoseconds(fields.nextToken());
            // Only a negative skew, that of a client whose clock is ahead, can change the order.
            long order = skew.charAt(0) == '+' ? sent : orderTime(sent, parseSkew(skew));
            merge(client, new Report(order, (line + "\n").getBytes(ISO_8859_1)), sender);
        }
    }

    /** The connection on which this server sends to one neighbour. */
    final class Link {
        final String name;
        private final int port;
        private final ReentrantLock lock = new ReentrantLock();
        private final Condition isDue = lock.newCondition();
        // At most one report for each client, however long the neighbour takes.
        private Map<String, Report> pending = new LinkedHashMap<>();
        /** The connection, or null. */
        private Socket current;

        Link(String name, int port) {
            this.name = name;
            this.port = port;
        }

        void push(String client, Report report) {
            lock.lock();
            try {
                if (current != null) {
                    pending.put(client, report);
                    isDue.signal();
                }
            } finally {
                lock.unlock();
            }
        }

        private Map<String, Report> take() throws IOException {
            lock.lock();
            try {
                while (current != null && pending.isEmpty()) {
                    isDue.awaitUninterruptibly();
                }
                if (current == null) {
                    throw new EOFException("the neighbour has closed the connection");
                }
                var taken = pending;
                pending = new LinkedHashMap<>();
                return taken;
            } finally {
                lock.unlock();
            }
        }

        /** Replaces the connection if it is the expected one. */
        private void replace(Socket expected, Socket socket) {
            lock.lock();
            try {
                if (current != expected) {
                    return;
                }
                current = socket;
                pending = new LinkedHashMap<>();
                isDue.signal();
            } finally {
                lock.unlock();
            }
        }

        void run() {
            int retry = MIN_RETRY_MS;
            while (true) {
                try (var socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
                    retry = MIN_RETRY_MS;
                    socket.setTcpNoDelay(true);
                    replace(null, socket);
                    Thread.startVirtualThread(() -> awaitEnd(socket));
                    try {
                        send(socket.getOutputStream());
                    } finally {
                        replace(socket, null);
                    }
                } catch (IOException e) {
                    // It is tried again.
                }
                try {
                    Thread.sleep(retry);
                } catch (InterruptedException e) {
                    return;
                }
                retry = Math.min(2 * retry, MAX_RETRY_MS);
            }
        }

        /** Without a reader, the end of the connection would go unnoticed. */
        private void awaitEnd(Socket socket) {
            try (socket) {
                socket.getInputStream().read();
            } catch (IOException e) {
                // The writer finds it as well.
            }
            replace(socket, null);
        }

        private void send(OutputStream out) throws IOException {
            var bytes = new ByteArrayOutputStream(8192);
            bytes.writeBytes((Herd.this.name + "\n").getBytes(ISO_8859_1));
            // Nothing tells what the neighbour has, so it gets everything.
            var taken = reports.values();
            while (true) {
                for (var report : taken) {
                    bytes.writeBytes(report.line);
                    if (bytes.size() > 65_536) {
                        bytes.writeTo(out);
                        bytes.reset();
                    }
                }
                bytes.writeTo(out);
                bytes.reset();
                taken = take().values();
            }
        }
    }

    private interface Service {
        void serve(Socket socket) throws IOException;
    }

    private static void listen(int port, Service service) throws IOException {
        var listener = new ServerSocket();
        listener.setReuseAddress(true);
        listener.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 4096);
        Thread.ofPlatform().start(() -> {
            while (true) {
                try {
                    var socket = listener.accept();
                    Thread.startVirtualThread(() -> {
                        try (socket) {
                            socket.setTcpNoDelay(true);
                            service.serve(socket);
                        } catch (IOException e) {
                            // The connection has ended.
                        }
                    });
                } catch (IOException e) {
                    System.err.println("cannot accept a connection: " + e.getMessage());
                }
            }
        });
    }

    public static void main(String[] arguments) throws IOException {
        var name = arguments[1];
        var herd = new Herd(name);
        var ports = new HashMap<String, int[]>();
        for (var line : Files.readAllLines(Path.of(arguments[0]))) {
            var fields = line.replaceFirst("#.*", "").strip().split("\\s+");
            if (fields[0].equals("server")) {
                ports.put(fields[1],
                    new int[] {Integer.parseInt(fields[2]), Integer.parseInt(fields[3])});
            } else if (fields[0].equals("link") && fields[1].equals(name)) {
                herd.links.add(herd.new Link(fields[2], ports.get(fields[2])[1]));
            } else if (fields[0].equals("link") && fields[2].equals(name)) {
                herd.links.add(herd.new Link(fields[1], ports.get(fields[1])[1]));
            }
        }
        try {
            listen(ports.get(name)[0], herd::serveClient);
            listen(ports.get(name)[1], herd::serveNeighbour);
        } catch (IOException e) {
            System.err.println("cannot listen: " + e.getMessage());
            // The thread of the first listener would go on.
            System.exit(1);
        }
        herd.links.forEach(link -> Thread.startVirtualThread(link::run));
    }
}
