package io.winnow.pruning.shrink;

import com.google.common.io.MoreFiles;
import com.google.common.io.RecursiveDeleteOption;
import io.winnow.core.InvalidInputException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** A hidden folder beside a target, in which it takes shape; nothing is left of it. */
record DraftFolder(Path parent, Path path) implements AutoCloseable {
  static DraftFolder beside(Path target) {
    Path absolute = target.toAbsolutePath().normalize();
    Path folder = absolute.getParent();
    if (folder == null || !Files.isDirectory(folder)) {
      throw new InvalidInputException(
          "The folder " + folder + ", in which " + target + " is to be written, does not exist");
    }
    if (Files.exists(absolute)) {
      throw new InvalidInputException(target + " exists already; name a folder that does not");
    }
    try {
      Path made = Files.createTempDirectory(folder, "." + absolute.getFileName() + ".partial-");
      return new DraftFolder(made, made.resolve("checkpoint"));
    } catch (IOException e) {
      throw new UncheckedIOException("Cannot make a folder in " + folder, e);
    }
  }

  @Override
  public void close() {
    try {
      MoreFiles.deleteRecursively(parent, RecursiveDeleteOption.ALLOW_INSECURE);
    } catch (IOException e) {
      throw new UncheckedIOException("Cannot remove " + parent, e);
    }
  }
}
