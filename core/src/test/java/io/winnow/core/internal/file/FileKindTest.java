package io.winnow.core.internal.file;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Files that say what they are. */
class FileKindTest {
  @TempDir private Path folder;

  @ParameterizedTest
  @EnumSource
  void everyKindIsReadAsItselfAndNamedWhereAnotherIsWanted(FileKind kind) throws IOException {
    JsonObject json = kind.newJson();
    json.addProperty("version", 1);
    Path file = folder.resolve("file.json");
    JsonFiles.write(file, json);
    assertThat(kind.read(file)).isEqualTo(json);
    for (FileKind other : FileKind.values()) {
      if (other != kind) {
        assertThatThrownBy(() -> other.read(file))
            .isInstanceOf(InvalidInputException.class)
            .hasMessageStartingWith(
                file + " is " + kind.inWords() + " (kind " + kind.id() + "), not ")
            .hasMessageContaining("not " + other.inWords() + " (kind " + other.id() + "); ");
      }
    }
  }

  @Test
  void everyKindHasAnIdOfItsOwn() {
    assertThat(Arrays.stream(FileKind.values()).map(FileKind::id))
        .doesNotHaveDuplicates()
        .allMatch(id -> id.matches("winnow-[a-z-]+"));
  }

  @Test
  void aFileWithoutAKindIsReadByWhatItHolds() throws IOException {
    Path file = Files.writeString(folder.resolve("old.json"), "{\"version\": 1}");
    assertThat(FileKind.PLAN.read(file).keySet()).containsExactly("version");
  }

  @Test
  void kindsThatNobodyKnowsAreNamedAsTheyStand() throws IOException {
    Path file = Files.writeString(folder.resolve("a.json"), "{\"kind\": \"winnow-wish-list\"}");
    assertThatThrownBy(() -> FileKind.PLAN.read(file))
        .isInstanceOf(InvalidInputException.class)
        .hasMessage(
            file
                + " is another file (kind winnow-wish-list), not a pruning plan (kind"
                + " winnow-pruning-plan); write one with PruningPlan.write");
    for (String kind : new String[] {"7", "null", "[\"winnow-pruning-plan\"]", "\"plan\""}) {
      Path odd = Files.writeString(folder.resolve("b.json"), "{\"a\": 1, \"kind\": " + kind + "}");
      assertThatThrownBy(() -> FileKind.PLAN.read(odd))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("is another file (kind ");
    }
  }
}
