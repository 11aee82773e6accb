package io.winnow.core;

import static com.tngtech.archunit.core.domain.JavaModifier.PROTECTED;
import static com.tngtech.archunit.core.domain.JavaModifier.PUBLIC;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;

import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaCodeUnit;
import com.tngtech.archunit.core.domain.JavaField;
import com.tngtech.archunit.core.domain.JavaModifier;
import com.tngtech.archunit.core.domain.JavaType;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.lang.ArchCondition;
import com.tngtech.archunit.lang.ArchRule;
import com.tngtech.archunit.lang.ConditionEvents;
import com.tngtech.archunit.lang.SimpleConditionEvent;
import com.tngtech.archunit.library.dependencies.SliceAssignment;
import com.tngtech.archunit.library.dependencies.SliceIdentifier;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/** The rooms of core: which may know which, and what their exported signatures name. */
@AnalyzeClasses(packages = "io.winnow.core", importOptions = ImportOption.DoNotIncludeTests.class)
class RoomsTest {
  private static final String ROOT = "io.winnow.core";

  private static final String[] EXPORTED = {
    ROOT,
    "io.winnow.core.routing",
    "io.winnow.core.calibration",
    "io.winnow.core.model",
    "io.winnow.core.generate",
    "io.winnow.core.evaluate",
    "io.winnow.core.train"
  };

  @ArchTest
  static final ArchRule theSeamUsesNoOtherRoom =
      noClasses()
          .that()
          .resideInAPackage(ROOT)
          .should()
          .dependOnClassesThat()
          .resideInAPackage("io.winnow.core.*..");

  @ArchTest
  static final ArchRule routingUsesTheSeamAlone =
      onlyUses(ROOT + ".routing", ROOT, ROOT + ".internal.routing");

  @ArchTest
  static final ArchRule calibrationReadsFilesAndRunsNoModel =
      onlyUses(
          ROOT + ".calibration",
          ROOT,
          ROOT + ".internal.file..",
          ROOT + ".internal.safetensors..",
          ROOT + ".internal.environment..");

  @ArchTest
  static final ArchRule generationAndEvaluationSeeModelsThroughTheSeam =
      noClasses()
          .that()
          .resideInAnyPackage(ROOT + ".generate", ROOT + ".evaluate", ROOT + ".internal.scoring")
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage(
              ROOT + ".internal.decoder..",
              ROOT + ".internal.storage..",
              ROOT + ".internal.kernel..",
              ROOT + ".internal.layout..",
              ROOT + ".internal.family..",
              ROOT + ".internal.form..");

  @ArchTest
  static final ArchRule nothingInternalKnowsWhatHostsCall =
      noClasses()
          .that()
          .resideInAPackage(ROOT + ".internal..")
          .and()
          .resideOutsideOfPackage(ROOT + ".internal.scoring")
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage(
              ROOT + ".model..",
              ROOT + ".generate..",
              ROOT + ".evaluate..",
              ROOT + ".train..",
              ROOT + ".calibration..");

  @ArchTest
  static final ArchRule scoringUsesTokenizersOnly =
      onlyUses(
          ROOT + ".internal.scoring",
          ROOT,
          ROOT + ".calibration",
          ROOT + ".internal.environment..",
          ROOT + ".internal.file..");

  @ArchTest
  static final ArchRule checkpointsKnowNoModel =
      onlyUses(
          ROOT + ".internal.checkpoint",
          ROOT,
          ROOT + ".internal.file..",
          ROOT + ".internal.safetensors..");

  @ArchTest
  static final ArchRule familiesChooseAmongForms =
      onlyUses(
          ROOT + ".internal.family",
          ROOT,
          ROOT + ".routing",
          ROOT + ".internal.form..",
          ROOT + ".internal.checkpoint..");

  @ArchTest
  static final ArchRule formsKnowNoFamilyAndNothingThatRuns =
      noClasses()
          .that()
          .resideInAPackage(ROOT + ".internal.form..")
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage(
              ROOT + ".internal.family..",
              ROOT + ".internal.layout..",
              ROOT + ".internal.kernel..",
              ROOT + ".internal.decoder..",
              ROOT + ".internal.storage..");

  @ArchTest
  static final ArchRule kernelsComputeAndKnowNoLayer =
      noClasses()
          .that()
          .resideInAPackage(ROOT + ".internal.kernel..")
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage(
              ROOT + ".routing..",
              ROOT + ".internal.family..",
              ROOT + ".internal.layout..",
              ROOT + ".internal.decoder..",
              ROOT + ".internal.storage..");

  @ArchTest
  static final ArchRule layoutsAreReadWithoutAnEngine =
      noClasses()
          .that()
          .resideInAPackage(ROOT + ".internal.layout..")
          .should()
          .dependOnClassesThat()
          .resideInAnyPackage(
              "ai.djl.ndarray..",
              ROOT + ".internal.kernel..",
              ROOT + ".internal.decoder..",
              ROOT + ".internal.storage..");

  @ArchTest
  static final ArchRule noArrowLeadsBack =
      slices()
          .assignedFrom(
              new SliceAssignment() {
                @Override
                public SliceIdentifier getIdentifierOf(JavaClass javaClass) {
                  return SliceIdentifier.of(javaClass.getPackageName());
                }

                @Override
                public String getDescription() {
                  return "packages";
                }
              })
          .should()
          .beFreeOfCycles();

  @ArchTest
  static final ArchRule exportedSignaturesNameNothingInternal =
      classes().that().resideInAnyPackage(EXPORTED).should(nameOnlyWhatHostsMayName());

  private static ArchRule onlyUses(String room, String... rooms) {
    List<String> allowed = new ArrayList<>(List.of(rooms));
    allowed.add(room + "..");
    return classes()
        .that()
        .resideInAPackage(room + "..")
        .should()
        .onlyDependOnClassesThat(
            JavaClass.Predicates.resideOutsideOfPackage("io.winnow..")
                .or(JavaClass.Predicates.resideInAnyPackage(allowed.toArray(String[]::new))));
  }

  private static ArchCondition<JavaClass> nameOnlyWhatHostsMayName() {
    return new ArchCondition<>("name nothing internal in what hosts see of them") {
      @Override
      public void check(JavaClass javaClass, ConditionEvents events) {
        if (!isVisible(javaClass)) {
          return;
        }
        javaClass.getSuperclass().ifPresent(type -> checkNamed(javaClass, "extends", type, events));
        javaClass
            .getInterfaces()
            .forEach(type -> checkNamed(javaClass, "implements", type, events));
        for (JavaField field : javaClass.getFields()) {
          if (isVisible(field.getModifiers())) {
            checkNamed(javaClass, field.getName(), field.getType(), events);
          }
        }
        for (JavaCodeUnit unit : javaClass.getCodeUnits()) {
          if (isVisible(unit.getModifiers())) {
            checkNamed(javaClass, unit.getName(), unit.getReturnType(), events);
            unit.getParameterTypes()
                .forEach(type -> checkNamed(javaClass, unit.getName(), type, events));
            unit.getExceptionTypes()
                .forEach(type -> checkNamed(javaClass, unit.getName(), type, events));
          }
        }
      }
    };
  }

  private static boolean isVisible(JavaClass javaClass) {
    return isVisible(javaClass.getModifiers())
        && javaClass.getEnclosingClass().map(RoomsTest::isVisible).orElse(true);
  }

  private static boolean isVisible(Set<JavaModifier> modifiers) {
    return modifiers.contains(PUBLIC) || modifiers.contains(PROTECTED);
  }

  private static void checkNamed(
      JavaClass owner, String member, JavaType named, ConditionEvents events) {
    for (JavaClass type : named.getAllInvolvedRawTypes()) {
      // Gson is how files are read today, and no promise.
      if (type.getPackageName().startsWith(ROOT + ".internal")
          || type.getPackageName().startsWith("com.google.gson")) {
        events.add(
            SimpleConditionEvent.violated(
                owner, owner.getName() + " " + member + " names " + type.getName()));
      }
    }
  }
}
