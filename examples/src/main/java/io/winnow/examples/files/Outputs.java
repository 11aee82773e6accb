package io.winnow.examples.files;

import io.winnow.core.InvalidInputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/** Looks at the places that results go to before any work is done for them. */
public final class Outputs {
  private Outputs() {}

  /** Refuses the name of a folder or file to create if it exists or cannot be created. */
  public static void requireNew(String option, Path target) {
    if (Files.exists(target, LinkOption.NOFOLLOW_LINKS)) {
      throw new InvalidInputException(
          option + ": " + target + " exists already; choose another name, or remove it");
    }
    requireFolder(option, target);
  }

  /** Refuses a checkpoint folder to create like {@link #requireNew}, or if it is in its source. */
  public static void requireNewCheckpoint(String option, Path target, Path source)
      throws IOException {
    requireNew(option, target);
    requireOutside(option, target, source);
  }

  /** Refuses a place in a model's folder, all of whose files are copied to what is made of it. */
  public static void requireOutside(String option, @Nullable Path target, Path model)
      throws IOException {
    if (target == null) {
      return;
    }
    Path existing = absolute(target);
    while (!Files.exists(existing)) {
      existing = parent(existing);
    }
    if (existing.toRealPath().startsWith(model.toRealPath())) {
      throw new InvalidInputException(
          option + ": " + target + " is inside the model " + model + "; choose another folder");
    }
  }

  /** Refuses the name of a file to write or replace if that will not be possible. */
  public static void requireFile(String option, @Nullable Path file) {
    requireFile(option, file, null);
  }

  /**
   * Refuses the name of a file like {@link #requireFile(String, Path)}.
   *
   * @param created a folder that the command itself creates before it writes the file
   */
  public static void requireFile(String option, @Nullable Path file, @Nullable Path created) {
    if (file == null) {
      return;
    }
    if (Files.isDirectory(file)) {
      throw new InvalidInputException(
          option + ": " + file + " is a folder; give the name of a file");
    }
    if (created != null && same(file, created)) {
      throw new InvalidInputException(
          option + ": " + file + " is to be a folder already; choose another name");
    }
    if (created == null || !parent(file).equals(absolute(created))) {
      requireFolder(option, file);
    }
  }

  /** Refuses two options that name the same file. */
  public static void requireDifferent(
      String option, @Nullable Path file, String otherOption, @Nullable Path otherFile) {
    if (file != null && otherFile != null && same(file, otherFile)) {
      throw new InvalidInputException(
          option + " and " + otherOption + " are both " + file + "; give two files");
    }
  }

  private static void requireFolder(String option, Path target) {
    Path parent = parent(target);
    if (!Files.isDirectory(parent)) {
      throw new InvalidInputException(
          option
              + ": the folder "
              + parent
              + " for "
              + target.getFileName()
              + " does not exist; create it, or choose another");
    }
    if (!Files.isWritable(parent)) {
      throw new InvalidInputException(
          option + ": no permission to write to " + parent + "; choose another folder");
    }
  }

  private static boolean same(Path one, Path other) {
    return absolute(one).equals(absolute(other));
  }

  private static Path parent(Path path) {
    Path parent = absolute(path).getParent();
    return parent == null ? absolute(path) : parent;
  }

  private static Path absolute(Path path) {
    return path.toAbsolutePath().normalize();
  }
}
