package io.winnow.pruning.internal.evolve;

import com.google.common.hash.Hashing;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.environment.Interruption;
import io.winnow.core.internal.file.FileKind;
import io.winnow.core.internal.file.JsonFiles;
import io.winnow.pruning.internal.file.JsonFields;
import java.io.Closeable;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import org.jspecify.annotations.Nullable;

/**
 * A folder that remembers every evaluation of one search, so that it can be continued, and shared
 * by several processes.
 *
 * <ul>
 *   <li>{@code search.json} says which search it is.
 *   <li>{@code evaluations.jsonl} gets one line per evaluation, on disk before the search goes on.
 *       What a killed process left of a line is cut off by the next one that writes.
 *   <li>{@code claims.lock} stays empty: who evaluates an individual holds the lock of one byte of
 *       it, at a place that the individual's digest gives. The system releases locks of a process
 *       that is killed, so that its work is taken over at once.
 * </ul>
 *
 * <p>Not thread-safe. Locks need a file system that has them; network file systems may not. Several
 * searches of one process should not share a folder: when one closes, POSIX releases the locks of
 * all, and work may be done twice (never a wrong result).
 */
public final class Journal implements Closeable {
  /** What is said where a search ends early. */
  public static final String INTERRUPTED = "The search was interrupted";

  private static final String EVALUATIONS = "evaluations.jsonl";
  private static final long APPEND_LOCK = 0;
  private static final long POLL_MILLIS = 2;

  private final Path folder;
  private final FileChannel evaluations;
  private final FileChannel claims;
  private final Map<String, Double> known = new HashMap<>();
  private final Map<String, FileLock> claimed = new HashMap<>();
  private long read;

  private Journal(Path folder, FileChannel evaluations, FileChannel claims) {
    this.folder = folder;
    this.evaluations = evaluations;
    this.claims = claims;
  }

  /**
   * Opens a journal, making the folder if it does not exist.
   *
   * @param identity what the search is
   * @throws InvalidInputException if the folder is the journal of another search, damaged, or
   *     cannot be written
   */
  public static Journal open(Path folder, JsonObject identity) {
    FileChannel evaluations = null;
    FileChannel claims = null;
    boolean opened = false;
    try {
      Files.createDirectories(folder);
      claims = open(folder.resolve("claims.lock"));
      evaluations = open(folder.resolve(EVALUATIONS));
      Journal journal = new Journal(folder, evaluations, claims);
      FileLock lock = journal.lock();
      try {
        journal.identify(identity);
      } finally {
        lock.release();
      }
      journal.refresh();
      opened = true;
      return journal;
    } catch (IOException e) {
      throw failure("Cannot open the journal " + folder, e);
    } finally {
      if (!opened) {
        closeQuietly(evaluations);
        closeQuietly(claims);
      }
    }
  }

  private static FileChannel open(Path file) throws IOException {
    return FileChannel.open(
        file, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
  }

  private static void closeQuietly(@Nullable FileChannel channel) {
    try {
      if (channel != null) {
        channel.close();
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static RuntimeException failure(String message, IOException e) {
    if (e instanceof ClosedByInterruptException || Thread.currentThread().isInterrupted()) {
      CancellationException cancelled = new CancellationException(INTERRUPTED);
      cancelled.initCause(e);
      return cancelled;
    }
    return new InvalidInputException(message + ": " + e, e);
  }

  private void identify(JsonObject identity) throws IOException {
    Path file = folder.resolve("search.json");
    if (!Files.exists(file)) {
      if (evaluations.size() > 0) {
        throw new InvalidInputException(
            "The journal " + folder + " has evaluations but no search.json; choose another folder");
      }
      JsonObject json = FileKind.EVOLUTION_JOURNAL.newJson();
      identity.asMap().forEach(json::add);
      JsonFiles.write(file, json);
      return;
    }
    JsonObject found = FileKind.EVOLUTION_JOURNAL.read(file);
    found.remove(FileKind.FIELD); // Which version 0.1.0 did not write.
    List<String> differences = JsonFiles.differences(found, identity);
    if (!differences.isEmpty()) {
      throw new InvalidInputException(
          "The journal "
              + folder
              + " is of another search: "
              + String.join("; ", differences)
              + ". Choose another folder, or repeat that search");
    }
  }

  /** Returns what an individual is worth, if that is known by now. */
  public @Nullable Double find(String digest) {
    return known.get(digest);
  }

  /** Reads what others have added. */
  public void refresh() {
    try {
      long size = evaluations.size();
      if (size <= read) {
        return;
      }
      ByteBuffer added = ByteBuffer.allocate(Math.toIntExact(size - read));
      while (added.hasRemaining() && evaluations.read(added, read + added.position()) >= 0) {}
      int end = added.position();
      while (end > 0 && added.get(end - 1) != '\n') {
        end--; // Of the last line there is only a part yet, or for ever.
      }
      String text = new String(added.array(), 0, end, StandardCharsets.UTF_8);
      text.lines().forEach(this::remember);
      read += end;
    } catch (IOException e) {
      throw failure("Cannot read the journal " + folder, e);
    }
  }

  private void remember(String line) {
    try {
      JsonObject json = JsonParser.parseString(line).getAsJsonObject();
      JsonElement fitness = json.get("fitness");
      known.putIfAbsent(
          json.get("individual").getAsString(),
          fitness.isJsonNull() ? Double.NEGATIVE_INFINITY : fitness.getAsDouble());
    } catch (JsonParseException
        | IllegalStateException
        | UnsupportedOperationException
        | NumberFormatException
        | NullPointerException e) {
      throw new InvalidInputException(
          folder.resolve(EVALUATIONS)
              + " is damaged: this line is no evaluation: "
              + line
              + ". Remove the line to have the individual evaluated again",
          e);
    }
  }

  /** Writes an evaluation, and returns when it is on disk. */
  public void append(String digest, double fitness) {
    JsonObject json = new JsonObject();
    json.addProperty("individual", digest);
    json.add("fitness", JsonFields.finite(fitness));
    ByteBuffer line = ByteBuffer.wrap((json + "\n").getBytes(StandardCharsets.UTF_8));
    try {
      FileLock lock = lock();
      try {
        refresh();
        // Only a line that nobody finishes any more can be left now.
        evaluations.truncate(read);
        while (line.hasRemaining()) {
          evaluations.write(line, read + line.position());
        }
        evaluations.force(true);
        refresh();
      } finally {
        lock.release();
      }
    } catch (IOException e) {
      throw failure("Cannot write to the journal " + folder, e);
    }
  }

  /** Waits until no other process writes. */
  private FileLock lock() throws IOException {
    while (true) {
      FileLock lock = tryLock(APPEND_LOCK);
      if (lock != null) {
        return lock;
      }
      pause(POLL_MILLIS);
    }
  }

  /** Waits a moment for other processes. */
  public static void pause(long millis) {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    Interruption.check(INTERRUPTED);
  }

  private @Nullable FileLock tryLock(long place) throws IOException {
    try {
      return claims.tryLock(place, 1, false);
    } catch (OverlappingFileLockException e) {
      return null; // Held by another search of this process.
    }
  }

  /**
   * Takes an individual for this search to evaluate, unless another one works on it.
   *
   * @return whether it may be evaluated; if so, look once more whether it has been
   */
  public boolean claim(String digest) {
    try {
      FileLock lock = tryLock(place(digest));
      if (lock == null) {
        return false;
      }
      claimed.put(digest, lock);
      refresh();
      return true;
    } catch (IOException e) {
      throw failure("Cannot lock " + folder.resolve("claims.lock"), e);
    }
  }

  private static long place(String digest) {
    long hash = Hashing.sha256().hashString(digest, StandardCharsets.UTF_8).asLong();
    return 1 + (hash >>> 2);
  }

  /** Ends a claim, after the result has been appended or given up. */
  public void release(String digest) {
    FileLock lock = claimed.remove(digest);
    try {
      if (lock != null && lock.isValid()) {
        lock.release();
      }
    } catch (IOException e) {
      throw failure("Cannot unlock " + folder.resolve("claims.lock"), e);
    }
  }

  @Override
  public void close() {
    closeQuietly(claims); // Ends all claims.
    closeQuietly(evaluations);
  }
}
