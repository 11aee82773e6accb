package io.winnow.examples.comparison;

import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.JsonFiles;
import io.winnow.examples.files.Outputs;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.OverlappingFileLockException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The finished rows of a comparison, in a file that grows by a line each: a comparison that was
 * killed goes on behind the last. The first line says what is compared. One process writes at a
 * time.
 */
public final class ComparisonJournal implements AutoCloseable {
  private static final String FILE = "rows.jsonl";

  private final Path folder;
  private final JsonObject settings;
  private final List<JsonObject> rows = new ArrayList<>();
  private @Nullable FileChannel channel;

  private ComparisonJournal(Path folder, JsonObject settings) {
    this.folder = folder;
    this.settings = settings;
  }

  /**
   * Opens the journal in a folder. A folder that is not there is made with the first row.
   *
   * @param settings what is compared
   * @throws InvalidInputException if the folder holds another comparison, something else, or is
   *     being written by another process
   */
  public static ComparisonJournal open(Path folder, JsonObject settings) throws IOException {
    ComparisonJournal journal = new ComparisonJournal(folder, settings);
    if (Files.exists(folder.resolve(FILE))) {
      boolean opened = false;
      try {
        journal.resume();
        opened = true;
      } finally {
        if (!opened) {
          journal.close();
        }
      }
    } else if (!isEmptyFolder(folder)) {
      Outputs.requireNew("--out", folder);
    }
    return journal;
  }

  private static boolean isEmptyFolder(Path folder) throws IOException {
    if (!Files.isDirectory(folder, LinkOption.NOFOLLOW_LINKS)) {
      return false;
    }
    try (Stream<Path> files = Files.list(folder)) {
      return files.findAny().isEmpty();
    }
  }

  private void resume() throws IOException {
    Path file = folder.resolve(FILE);
    FileChannel opened = lock(file);
    ByteBuffer content = ByteBuffer.allocate(Math.toIntExact(opened.size()));
    while (content.hasRemaining() && opened.read(content, content.position()) >= 0) {}
    int end = content.position();
    while (end > 0 && content.get(end - 1) != '\n') {
      end--; // Nobody finishes the last line any more.
    }
    opened.truncate(end);
    // Another channel of this file would lose the lock when it is closed.
    List<JsonObject> lines =
        new String(content.array(), 0, end, StandardCharsets.UTF_8).lines().map(this::row).toList();
    if (lines.isEmpty()) {
      return;
    }
    List<String> differences = JsonFiles.differences(lines.get(0), settings);
    if (!differences.isEmpty()) {
      throw new InvalidInputException(
          "--out: "
              + folder
              + " holds another comparison: "
              + String.join("; ", differences)
              + ". Choose another folder, or repeat that comparison");
    }
    rows.addAll(lines.subList(1, lines.size()));
  }

  private JsonObject row(String line) {
    try {
      return JsonParser.parseString(line).getAsJsonObject();
    } catch (JsonParseException | IllegalStateException e) {
      throw new InvalidInputException(
          folder.resolve(FILE)
              + " is damaged: this line is no row: "
              + line
              + ". Remove the folder, and compare again",
          e);
    }
  }

  private FileChannel lock(Path file) throws IOException {
    FileChannel opened =
        FileChannel.open(
            file, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
    channel = opened;
    try {
      if (opened.tryLock() != null) {
        return opened;
      }
    } catch (OverlappingFileLockException e) {
      // Held by this process: the same answer.
    }
    throw new InvalidInputException(
        "--out: another comparison is writing to " + folder + "; wait for its end");
  }

  /** Returns the rows that are there, in order. */
  public List<JsonObject> rows() {
    return List.copyOf(rows);
  }

  /** Adds a row, and returns when it is on disk. */
  public void append(JsonObject row) throws IOException {
    FileChannel open = channel;
    if (open == null) {
      Files.createDirectories(folder);
      open = lock(folder.resolve(FILE));
    }
    if (open.size() == 0) {
      write(open, settings);
    }
    write(open, row);
    open.force(true);
    rows.add(row);
  }

  private static void write(FileChannel to, JsonObject line) throws IOException {
    ByteBuffer bytes = ByteBuffer.wrap((line + "\n").getBytes(StandardCharsets.UTF_8));
    long start = to.size();
    while (bytes.hasRemaining()) {
      to.write(bytes, start + bytes.position());
    }
  }

  @Override
  public void close() throws IOException {
    if (channel != null) {
      channel.close();
    }
  }
}
